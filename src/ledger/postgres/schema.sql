-- Schema version 1 of the ledger in PostgreSQL. A later version gets a migration beside this file; this text is never
-- edited again once a release has run it, because databases made from it exist.

-- One row a request, kept for good: the tombstones that the provider asks its users to keep.
CREATE TABLE asset_eraser.requests (
    request_id text        NOT NULL PRIMARY KEY,
    -- NULL only for a request that was refused before its asset could be read.
    asset_id   text,
    case_id    text,
    dry_run    boolean     NOT NULL,
    -- The request as asked (JSON); NULL when it was refused unread.
    request    text,
    state      text        NOT NULL CHECK (state IN ('begun', 'deleting', 'waiting', 'decided')),
    attempts   bigint      NOT NULL CHECK (attempts >= 0),
    -- The step of the wait ladder last put off to.
    rung       bigint      NOT NULL CHECK (rung >= 0),
    -- Sticky: true from the moment before the first DELETE, whatever the state is later.
    deleting   boolean     NOT NULL,
    waited_for text,
    outcome    text,
    -- The result event, exactly as published. Not jsonb, which would write it anew.
    event      text,
    first_seen timestamptz NOT NULL,
    updated    timestamptz NOT NULL,
    -- The end of the request's chain in the history: how many entries, and the hash of the last.
    entries    bigint      NOT NULL CHECK (entries > 0),
    chain      text        NOT NULL,
    CHECK ((state = 'decided') = (event IS NOT NULL)),
    CHECK ((state = 'decided') = (outcome IS NOT NULL)),
    CHECK (state = 'decided' OR asset_id IS NOT NULL),
    -- A dry run never deletes.
    CHECK (NOT (dry_run AND deleting))
);

CREATE INDEX requests_by_asset ON asset_eraser.requests (asset_id) WHERE asset_id IS NOT NULL;
CREATE INDEX requests_by_case ON asset_eraser.requests (case_id) WHERE case_id IS NOT NULL;

-- The evidence: every change of a request, each bound by its hash to the one before. Only ever added to.
CREATE TABLE asset_eraser.history (
    request_id text        NOT NULL,
    number     bigint      NOT NULL CHECK (number > 0),
    at         timestamptz NOT NULL,
    state      text        NOT NULL,
    attempts   bigint      NOT NULL,
    why        text,
    digest     text,
    hash       text        NOT NULL,
    PRIMARY KEY (request_id, number)
);

-- What a probe writes to, so that "the ledger works" is proven by a real commit.
CREATE TABLE asset_eraser.probe (
    only_row boolean NOT NULL PRIMARY KEY DEFAULT true CHECK (only_row),
    probes   bigint  NOT NULL
);

INSERT INTO asset_eraser.probe (probes) VALUES (0);
