-- Schema version 1 of the ledger. A later version gets a migration beside this file; this text is never edited again
-- once a release has written it, because files made from it exist.

-- One row a request, kept for good: the tombstones that the provider asks its users to keep.
CREATE TABLE requests (
    request_id TEXT    NOT NULL PRIMARY KEY,
    -- NULL only for a request that was refused before its asset could be read.
    asset_id   TEXT,
    case_id    TEXT,
    dry_run    INTEGER NOT NULL CHECK (dry_run IN (0, 1)),
    -- The request as asked (JSON); NULL when it was refused unread.
    request    TEXT,
    state      TEXT    NOT NULL CHECK (state IN ('begun', 'deleting', 'waiting', 'decided')),
    attempts   INTEGER NOT NULL CHECK (attempts >= 0),
    -- The step of the wait ladder last put off to.
    rung       INTEGER NOT NULL CHECK (rung >= 0),
    -- Sticky: 1 from the moment before the first DELETE, whatever the state is later.
    deleting   INTEGER NOT NULL CHECK (deleting IN (0, 1)),
    waited_for TEXT,
    outcome    TEXT,
    -- The result event, exactly as published.
    event      TEXT,
    -- RFC 3339, UTC, always three decimals: sorts as text.
    first_seen TEXT    NOT NULL,
    updated    TEXT    NOT NULL,
    -- The end of the request's chain in the history: how many entries, and the hash of the last.
    entries    INTEGER NOT NULL CHECK (entries > 0),
    chain      TEXT    NOT NULL,
    CHECK ((state = 'decided') = (event IS NOT NULL)),
    CHECK ((state = 'decided') = (outcome IS NOT NULL)),
    CHECK (state = 'decided' OR asset_id IS NOT NULL),
    -- A dry run never deletes.
    CHECK (NOT (dry_run = 1 AND deleting = 1))
) STRICT;

CREATE INDEX requests_by_asset ON requests (asset_id) WHERE asset_id IS NOT NULL;
CREATE INDEX requests_by_case ON requests (case_id) WHERE case_id IS NOT NULL;

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

-- What a probe writes to, so that "the ledger works" is proven by a real commit.
CREATE TABLE probe (
    only_row INTEGER NOT NULL PRIMARY KEY CHECK (only_row = 1),
    probes   INTEGER NOT NULL,
    -- As big as the biggest request and its event, so that a disk with room for a few bytes does not pass.
    filling  BLOB    NOT NULL
) STRICT;

INSERT INTO probe (only_row, probes, filling) VALUES (1, 0, x'');
