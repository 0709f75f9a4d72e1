-- Schema version 1 of the ledger in PostgreSQL. A later version gets a migration beside this file; this text is never
-- edited again once a release has run it, because databases made from it exist.

-- The ledger itself.
CREATE TABLE asset_eraser.ledger (
    only_row boolean NOT NULL PRIMARY KEY DEFAULT true CHECK (only_row),
    -- The random name that the IDs of its events are derived from.
    id       uuid    NOT NULL,
    -- The number of the last acceptance of a ledger that was set back, and why it is not accepted now.
    accepted bigint  NOT NULL DEFAULT 0,
    set_back text
);

INSERT INTO asset_eraser.ledger (id) VALUES (gen_random_uuid());

-- Transactions that changed something, by timeline (a promoted standby begins a new one) and in slots, by connection, so
-- that commits do not wait for each other. Rows change often and stay short: room is left in each page.
CREATE TABLE asset_eraser.progress (
    timeline bigint   NOT NULL,
    slot     smallint NOT NULL,
    commits  bigint   NOT NULL,
    PRIMARY KEY (timeline, slot)
) WITH (fillfactor = 10);

-- One row a request, kept for good: the tombstones that the provider asks its users to keep.
CREATE TABLE asset_eraser.requests (
    request_id   text        NOT NULL PRIMARY KEY,
    -- NULL only for a request that was refused before its asset could be read.
    asset_id     text,
    case_id      text,
    dry_run      boolean     NOT NULL,
    -- What the request said about a backup; NULL where it said nothing.
    backup_asked boolean,
    -- The request as asked (JSON); NULL when it was refused unread.
    request      text,
    state        text        NOT NULL
        CHECK (state IN ('begun', 'backed_up', 'deleting', 'not_sent', 'waiting', 'decided')),
    attempts     bigint      NOT NULL CHECK (attempts >= 0),
    -- The random token of the attempt that owns the request; NULL once it has ended.
    attempt      bigint,
    -- Attempts in a row that began and never ended.
    interrupted  bigint      NOT NULL CHECK (interrupted >= 0),
    -- How often in a row an attempt was taken over while its worker was alive.
    contended    bigint      NOT NULL CHECK (contended >= 0),
    -- The step of the wait ladder last put off to.
    rung         bigint      NOT NULL CHECK (rung >= 0),
    -- The DELETEs that may have been sent, each counted before it is sent.
    deletes      bigint      NOT NULL CHECK (deletes >= 0),
    -- Those of them that the provider answered "not found".
    missed       bigint      NOT NULL CHECK (missed BETWEEN 0 AND deletes),
    -- Whether the asset was found before one of the DELETEs.
    seen         boolean     NOT NULL,
    waited_for   text,
    -- The copy that was made before the deletion (JSON), with the number of its entry in the history.
    backup       text,
    outcome      text,
    -- How well it is known that the asset is gone.
    proof        text        CHECK (proof IN ('erased', 'absent', 'provider_word', 'unconfirmed')),
    -- The result event, exactly as published. Not jsonb, which would write it anew.
    event        text,
    -- Whether the broker has confirmed the answer.
    heard        boolean     NOT NULL DEFAULT false,
    -- A tombstone is a decided request of which only this is kept: that it was decided, when, how, and of which asset.
    -- Of what was asked there is the SHA-256 then, the event is empty, and the history has no entry; this is the hash of the
    -- last one it had, bound by `chain` to all that is kept.
    sealed       text        CHECK (sealed IS NULL OR event = ''),
    first_seen   timestamptz NOT NULL,
    updated      timestamptz NOT NULL,
    -- The end of the request's chain in the history: how many entries, and the hash of the last.
    entries      bigint      NOT NULL CHECK (entries > 0),
    chain        text        NOT NULL,
    CHECK ((state = 'decided') = (event IS NOT NULL)),
    CHECK ((state = 'decided') = (outcome IS NOT NULL)),
    CHECK ((proof IS NOT NULL) = (outcome IS NOT NULL AND outcome IN ('deleted', 'already_absent'))),
    CHECK (state = 'decided' OR asset_id IS NOT NULL),
    CHECK (state = 'decided' OR NOT heard),
    -- A dry run never deletes.
    CHECK (NOT (dry_run AND deletes > 0))
);

CREATE INDEX requests_by_asset ON asset_eraser.requests (asset_id) WHERE asset_id IS NOT NULL;
CREATE INDEX requests_by_case ON asset_eraser.requests (case_id) WHERE case_id IS NOT NULL;
-- What is open can be listed without walking over what is decided.
CREATE INDEX requests_open ON asset_eraser.requests (state, first_seen) WHERE state <> 'decided';
-- The decided requests with all their details, the longest decided first: what becomes a tombstone next.
CREATE INDEX requests_decided ON asset_eraser.requests (updated, request_id) WHERE state = 'decided' AND sealed IS NULL;

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

-- The cases whose size, in requests, is known.
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

-- Rejected messages of a case whose request ID is that of a request outside the case: they have no row of their own.
CREATE TABLE asset_eraser.case_conflicts (
    case_id  text        NOT NULL,
    -- A name derived from all that the message says.
    message  uuid        NOT NULL,
    at       timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (case_id, message)
);

-- How many deletions have begun, while there is a brake: in buckets of time, each named by its end in milliseconds since
-- 1970, and in shards, by request ID. Those that no window reaches any more are removed.
CREATE TABLE asset_eraser.brake_counts (
    until_ms  bigint   NOT NULL,
    shard     smallint NOT NULL,
    deletions bigint   NOT NULL,
    PRIMARY KEY (until_ms, shard)
);

-- When an operator released the brake, and how many deletions count no more since then.
CREATE TABLE asset_eraser.brake_releases (
    at_ms     bigint NOT NULL,
    deletions bigint NOT NULL
);

-- What a probe writes to, so that "the ledger works" is proven by a real commit.
CREATE TABLE asset_eraser.probe (
    only_row boolean NOT NULL PRIMARY KEY DEFAULT true CHECK (only_row),
    probes   bigint  NOT NULL
);

INSERT INTO asset_eraser.probe (probes) VALUES (0);
