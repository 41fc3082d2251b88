-- Schema 1. Times are nanoseconds since the Unix epoch. Enum columns hold the numbers of the proto enums. Payloads are
-- protobuf messages with the version of their recipe beside them; the other columns exist to be searched.
CREATE TABLE meta (
    one    INTEGER PRIMARY KEY CHECK (one = 1),
    schema INTEGER NOT NULL,
    -- Rises at every opening; every write checks it, so that a writer that was replaced changes nothing more.
    fence  INTEGER NOT NULL
) STRICT;
INSERT INTO meta (one, schema, fence) VALUES (1, 1, 0);

-- Payload: inquest.ingest.v1.Finding.
CREATE TABLE occurrence (
    cluster         TEXT    NOT NULL,
    node_uid        TEXT    NOT NULL,
    key             BLOB    NOT NULL,
    node_name       TEXT    NOT NULL,
    observed_at     INTEGER NOT NULL,
    stored_at       INTEGER NOT NULL,
    namespace       TEXT    NOT NULL,
    workload        TEXT    NOT NULL,
    container       TEXT    NOT NULL,
    pod             TEXT    NOT NULL,
    cause           INTEGER NOT NULL,
    incident        TEXT,
    payload_version INTEGER NOT NULL,
    payload         BLOB    NOT NULL,
    PRIMARY KEY (cluster, node_uid, key)
) STRICT;
CREATE INDEX occurrence_observed ON occurrence (observed_at, cluster, node_uid, key);
CREATE INDEX occurrence_stored ON occurrence (stored_at);

-- Payload: inquest.query.v1.Incident, the complete state of the engine. The id leads, so that prefixes are found.
CREATE TABLE incident (
    cluster         TEXT    NOT NULL,
    id              TEXT    NOT NULL,
    state           INTEGER NOT NULL,
    cause           INTEGER NOT NULL,
    severity        INTEGER NOT NULL,
    last_seen       INTEGER NOT NULL,
    resolved_at     INTEGER,
    namespace       TEXT    NOT NULL,
    workload        TEXT    NOT NULL,
    container       TEXT    NOT NULL,
    -- Names, each between line feeds.
    nodes           TEXT    NOT NULL,
    payload_version INTEGER NOT NULL,
    payload         BLOB    NOT NULL,
    PRIMARY KEY (id, cluster)
) STRICT;
CREATE INDEX incident_seen ON incident (last_seen, id);
CREATE INDEX incident_state ON incident (state, resolved_at);

-- Payload: inquest.query.v1.Incident as it was at the transition.
CREATE TABLE outbox (
    cluster         TEXT    NOT NULL,
    id              TEXT    NOT NULL,
    receiver        TEXT    NOT NULL,
    incident        TEXT    NOT NULL,
    slot            INTEGER NOT NULL,
    transition      INTEGER NOT NULL,
    kind            INTEGER NOT NULL,
    planned_at      INTEGER NOT NULL,
    state           INTEGER NOT NULL,
    attempts        INTEGER NOT NULL,
    next_at         INTEGER NOT NULL,
    delivered_at    INTEGER,
    last_error      TEXT    NOT NULL,
    payload_version INTEGER NOT NULL,
    payload         BLOB    NOT NULL,
    PRIMARY KEY (id, cluster)
) STRICT;
CREATE INDEX outbox_state ON outbox (state, id);
CREATE INDEX outbox_incident ON outbox (incident, receiver, slot);
CREATE INDEX outbox_planned ON outbox (planned_at);

-- How many rows were pruned, by state, so that the totals outlive them.
CREATE TABLE outbox_pruned (
    state INTEGER PRIMARY KEY,
    gone  INTEGER NOT NULL
) STRICT;

-- The key leads: a log is asked for by key alone.
CREATE TABLE log_chunk (
    cluster     TEXT    NOT NULL,
    node_uid    TEXT    NOT NULL,
    key         BLOB    NOT NULL,
    position    INTEGER NOT NULL,
    captured_at INTEGER NOT NULL,
    redactions  INTEGER NOT NULL,
    truncated   INTEGER NOT NULL,
    data        BLOB    NOT NULL,
    PRIMARY KEY (key, cluster, node_uid, position)
) STRICT;

CREATE TABLE node (
    cluster     TEXT    NOT NULL,
    uid         TEXT    NOT NULL,
    name        TEXT    NOT NULL,
    enrolled_at INTEGER NOT NULL,
    last_seen   INTEGER NOT NULL,
    -- inquest.ingest.v1.AgentStatus.
    status      BLOB    NOT NULL,
    PRIMARY KEY (cluster, uid)
) STRICT;

-- What an agent need not send again.
CREATE TABLE mark (
    cluster  TEXT    NOT NULL,
    node_uid TEXT    NOT NULL,
    -- An unsigned 64-bit number, its bits read as signed.
    epoch    INTEGER NOT NULL,
    seq      INTEGER NOT NULL,
    PRIMARY KEY (cluster, node_uid, epoch)
) STRICT;
