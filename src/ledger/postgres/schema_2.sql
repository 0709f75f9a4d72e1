-- Schema version 2 of the ledger: cases that are told when they are complete, tombstones, and the brake. Leaves every row
-- where it is, so that a big ledger is brought up to date in seconds.

-- A tombstone is a decided request of which only this is kept: that it was decided, when, how, and of which asset. What
-- was asked is NULL then, the event is empty, and the history has no entry; this is the hash of the last one it had,
-- bound by `chain` to all that is kept.
ALTER TABLE asset_eraser.requests ADD COLUMN sealed text CHECK (sealed IS NULL OR event = '');

-- The decided requests with all their details, the longest decided first: what becomes a tombstone next.
CREATE INDEX requests_to_compact ON asset_eraser.requests (updated, request_id)
    WHERE state = 'decided' AND sealed IS NULL;

-- The cases of which somebody has said how many requests they have.
CREATE TABLE asset_eraser.cases (
    case_id text   NOT NULL PRIMARY KEY,
    size    bigint NOT NULL CHECK (size > 0),
    -- The event that says it is complete, exactly as published.
    event   text
);

-- How many requests of each case are decided. In shards, by request ID: every decision locks the row it counts in until
-- its commit, and those of one case must not wait for each other.
CREATE TABLE asset_eraser.case_counts (
    case_id  text     NOT NULL,
    outcome  text     NOT NULL,
    shard    smallint NOT NULL,
    requests bigint   NOT NULL,
    PRIMARY KEY (case_id, outcome, shard)
);

INSERT INTO asset_eraser.case_counts (case_id, outcome, shard, requests)
SELECT case_id, outcome, 0, count(*) FROM asset_eraser.requests
WHERE state = 'decided' AND case_id IS NOT NULL GROUP BY case_id, outcome;

-- How many deletions have begun, while there is a brake: in buckets of time, each told by its end in milliseconds since
-- 1970, and in shards, by request ID. Those that no window reaches any more are removed.
CREATE TABLE asset_eraser.brake_counts (
    until_ms  bigint   NOT NULL,
    shard     smallint NOT NULL,
    deletions bigint   NOT NULL,
    PRIMARY KEY (until_ms, shard)
);

-- When somebody released the brake, and how many deletions count no more since then.
CREATE TABLE asset_eraser.brake_releases (
    at_ms     bigint NOT NULL,
    deletions bigint NOT NULL
);
