-- Schema version 2 of the ledger: cases that are told when they are complete, tombstones, and the brake. Leaves every row
-- where it is, so that a big ledger is brought up to date in seconds.

-- A tombstone is a decided request of which only this is kept: that it was decided, when, how, and of which asset. What
-- was asked is NULL then, the event is empty, and the history has no entry; this is the hash of the last one it had,
-- bound by `chain` to all that is kept.
ALTER TABLE requests ADD COLUMN sealed TEXT CHECK (sealed IS NULL OR event = '');

-- The decided requests with all their details, the longest decided first: what becomes a tombstone next.
CREATE INDEX requests_to_compact ON requests (updated, request_id) WHERE state = 'decided' AND sealed IS NULL;

-- The cases of which somebody has said how many requests they have.
CREATE TABLE cases (
    case_id TEXT    NOT NULL PRIMARY KEY,
    size    INTEGER NOT NULL CHECK (size > 0),
    -- The event that says it is complete, exactly as published.
    event   TEXT
) STRICT, WITHOUT ROWID;

-- How many requests of each case are decided.
CREATE TABLE case_counts (
    case_id  TEXT    NOT NULL,
    outcome  TEXT    NOT NULL,
    requests INTEGER NOT NULL,
    PRIMARY KEY (case_id, outcome)
) STRICT, WITHOUT ROWID;

INSERT INTO case_counts (case_id, outcome, requests)
SELECT case_id, outcome, count(*) FROM requests WHERE state = 'decided' AND case_id IS NOT NULL GROUP BY case_id, outcome;

-- How many deletions have begun, while there is a brake: in buckets of time, each told by its end in milliseconds since
-- 1970. Those that no window reaches any more are removed.
CREATE TABLE brake_counts (
    until_ms  INTEGER NOT NULL PRIMARY KEY,
    deletions INTEGER NOT NULL
) STRICT;

-- When somebody released the brake, and how many deletions count no more since then.
CREATE TABLE brake_releases (
    at_ms     INTEGER NOT NULL,
    deletions INTEGER NOT NULL
) STRICT;
