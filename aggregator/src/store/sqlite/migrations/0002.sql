-- Schema 2. Logs get a time of the aggregator, so that a node's clock decides nothing about retention. The outbox is
-- read by receiver, and nodes are listed in pages.
ALTER TABLE log_chunk ADD COLUMN stored_at INTEGER NOT NULL DEFAULT 0;
UPDATE log_chunk SET stored_at = captured_at;
CREATE INDEX log_chunk_stored ON log_chunk (stored_at);
DROP INDEX outbox_state;
CREATE INDEX outbox_waiting ON outbox (state, receiver, id);
CREATE INDEX node_name ON node (cluster, name, uid);
UPDATE meta SET schema = 2;
