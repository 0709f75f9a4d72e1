-- Schema version 1 of the ledger. A later version gets a migration beside this file; this text is never edited again
-- once a release has written it, because files made from it exist.

-- The ledger itself.
CREATE TABLE ledger (
    only_row INTEGER NOT NULL PRIMARY KEY CHECK (only_row = 1),
    -- The random name that the IDs of its events are derived from.
    id       TEXT    NOT NULL,
    -- Transactions that changed something. A copy that is older shows fewer.
    commits  INTEGER NOT NULL,
    -- The number of the last acceptance of a ledger that was set back, and why it is not accepted now.
    accepted INTEGER NOT NULL,
    set_back TEXT
) STRICT;

INSERT INTO ledger (only_row, id, commits, accepted) VALUES (1, lower(hex(randomblob(16))), 0, 0);

-- One row a request, kept for good: the tombstones that the provider asks its users to keep.
CREATE TABLE requests (
    request_id   TEXT    NOT NULL PRIMARY KEY,
    -- NULL only for a request that was refused before its asset could be read.
    asset_id     TEXT,
    case_id      TEXT,
    dry_run      INTEGER NOT NULL CHECK (dry_run IN (0, 1)),
    -- What the request said about a backup; NULL where it said nothing.
    backup_asked INTEGER CHECK (backup_asked IN (0, 1)),
    -- The request as asked (JSON); NULL when it was refused unread.
    request      TEXT,
    state        TEXT    NOT NULL
        CHECK (state IN ('begun', 'backed_up', 'deleting', 'not_sent', 'waiting', 'decided')),
    attempts     INTEGER NOT NULL CHECK (attempts >= 0),
    -- The random token of the attempt that owns the request; NULL once it has ended.
    attempt      INTEGER,
    -- Attempts in a row that began and never ended.
    interrupted  INTEGER NOT NULL CHECK (interrupted >= 0),
    -- How often in a row an attempt was taken over while its worker was alive.
    contended    INTEGER NOT NULL CHECK (contended >= 0),
    -- The step of the wait ladder last put off to.
    rung         INTEGER NOT NULL CHECK (rung >= 0),
    -- The DELETEs that may have been sent, each counted before it is sent.
    deletes      INTEGER NOT NULL CHECK (deletes >= 0),
    -- Those of them that the provider answered "not found".
    missed       INTEGER NOT NULL CHECK (missed BETWEEN 0 AND deletes),
    -- Whether the asset was found before one of the DELETEs.
    seen         INTEGER NOT NULL CHECK (seen IN (0, 1)),
    waited_for   TEXT,
    -- The copy that was made before the deletion (JSON), with the number of its entry in the history.
    backup       TEXT,
    outcome      TEXT,
    -- How well it is known that the asset is gone.
    proof        TEXT    CHECK (proof IN ('erased', 'absent', 'provider_word', 'unconfirmed')),
    -- The result event, exactly as published.
    event        TEXT,
    -- Whether the broker has confirmed the answer.
    heard        INTEGER NOT NULL CHECK (heard IN (0, 1)),
    -- A tombstone is a decided request of which only this is kept: that it was decided, when, how, and of which asset.
    -- Of what was asked there is the SHA-256 then, the event is empty, and the history has no entry; this is the hash of the
    -- last one it had, bound by `chain` to all that is kept.
    sealed       TEXT    CHECK (sealed IS NULL OR event = ''),
    -- RFC 3339, UTC, always three decimals: sorts as text.
    first_seen   TEXT    NOT NULL,
    updated      TEXT    NOT NULL,
    -- The end of the request's chain in the history: how many entries, and the hash of the last.
    entries      INTEGER NOT NULL CHECK (entries > 0),
    chain        TEXT    NOT NULL,
    CHECK ((state = 'decided') = (event IS NOT NULL)),
    CHECK ((state = 'decided') = (outcome IS NOT NULL)),
    CHECK ((proof IS NOT NULL) = (outcome IS NOT NULL AND outcome IN ('deleted', 'already_absent'))),
    CHECK (state = 'decided' OR asset_id IS NOT NULL),
    CHECK (state = 'decided' OR heard = 0),
    -- A dry run never deletes.
    CHECK (NOT (dry_run = 1 AND deletes > 0))
) STRICT;

CREATE INDEX requests_by_asset ON requests (asset_id) WHERE asset_id IS NOT NULL;
CREATE INDEX requests_by_case ON requests (case_id) WHERE case_id IS NOT NULL;
-- What is open can be listed without walking over what is decided.
CREATE INDEX requests_open ON requests (state, first_seen) WHERE state <> 'decided';
-- The decided requests with all their details, the longest decided first: what becomes a tombstone next.
CREATE INDEX requests_decided ON requests (updated, request_id) WHERE state = 'decided' AND sealed IS NULL;

-- The evidence: every change of a request, each bound by its hash to the one before. Only ever added to.
CREATE TABLE history (
    request_id TEXT    NOT NULL,
    number     INTEGER NOT NULL CHECK (number > 0),
    at         TEXT    NOT NULL,
    state      TEXT    NOT NULL,
    attempts   INTEGER NOT NULL,
    why        TEXT,
    digest     TEXT,
    hash       TEXT    NOT NULL,
    PRIMARY KEY (request_id, number)
) STRICT, WITHOUT ROWID;

-- The cases whose size, in requests, is known.
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

-- Rejected messages of a case whose request ID is that of a request outside the case: they have no row of their own.
CREATE TABLE case_conflicts (
    case_id  TEXT NOT NULL,
    -- A name derived from all that the message says.
    message  TEXT NOT NULL,
    at       TEXT NOT NULL,
    PRIMARY KEY (case_id, message)
) STRICT, WITHOUT ROWID;

-- How many deletions have begun, while there is a brake: in buckets of time, each named by its end in milliseconds since
-- 1970. Those that no window reaches any more are removed.
CREATE TABLE brake_counts (
    until_ms  INTEGER NOT NULL PRIMARY KEY,
    deletions INTEGER NOT NULL
) STRICT;

-- When an operator released the brake, and how many deletions count no more since then.
CREATE TABLE brake_releases (
    at_ms     INTEGER NOT NULL,
    deletions INTEGER NOT NULL
) STRICT;

-- What a probe writes to, so that "the ledger works" is proven by a real commit.
CREATE TABLE probe (
    only_row INTEGER NOT NULL PRIMARY KEY CHECK (only_row = 1),
    probes   INTEGER NOT NULL,
    -- As big as the biggest request and its event, so that a disk with room for a few bytes does not pass.
    filling  BLOB    NOT NULL
) STRICT;

INSERT INTO probe (only_row, probes, filling) VALUES (1, 0, x'');
