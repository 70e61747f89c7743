-- One number orders every event of the outbox, so that a client that comes back can say how far it got.
-- depends: 0003.trail

-- Given by the relay in the order in which it sees the commits; NULL until then, and for what was published before this.
ALTER TABLE outbox ADD COLUMN seq bigint UNIQUE;
DROP INDEX outbox_unpublished;
CREATE INDEX outbox_unpublished ON outbox (seq, event_id) WHERE published_at IS NULL;
DROP INDEX outbox_topic;
CREATE INDEX outbox_topic ON outbox (topic, seq) WHERE seq IS NOT NULL;

-- Which history the numbers belong to. A database restored from a backup has forgotten events that clients know of:
-- it needs a new epoch.
CREATE TABLE outbox_epoch (
  epoch     uuid NOT NULL,
  floor_seq bigint NOT NULL DEFAULT 0,              -- events up to this number are not all there any more
  only_row  boolean PRIMARY KEY DEFAULT true CHECK (only_row)
);
INSERT INTO outbox_epoch (epoch) VALUES (gen_random_uuid());
