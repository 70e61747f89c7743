-- Which matcher dispatches where.
-- depends: 0014.matching_facts

-- A matcher takes part while its lease lasts; one that stops in good order deletes its row.
CREATE TABLE matcher (
  matcher_id  uuid PRIMARY KEY,
  seat        text NOT NULL,                        -- where it runs: at most one process has it
  joined_at   timestamptz NOT NULL,
  lease_until timestamptz NOT NULL
);

-- Regions are coarse H3 cells; cell 0 stands for every place without a region of its own. A region is its holder's while
-- the holder takes part. Each change of hands gives it a fence that no region ever had.
CREATE SEQUENCE match_fence;
CREATE TABLE match_region (
  cell    bigint PRIMARY KEY,
  holder  uuid,
  fence   bigint NOT NULL UNIQUE,
  busy_at timestamptz NOT NULL                      -- when a booking was last seen to search there
);
INSERT INTO match_region (cell, fence, busy_at) VALUES (0, nextval('match_fence'), '1970-01-01Z');

-- H3 cell of the pin, resolution 6, some 36 km2; NULL for bookings from before.
ALTER TABLE booking ADD COLUMN cell bigint;

CREATE FUNCTION wake_matchers() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  PERFORM pg_notify('clenzy_region', '');
  RETURN NULL;
END $$;
-- By row: a statement that found nothing to change must not wake who would only say the same again.
CREATE TRIGGER matcher_wake AFTER INSERT OR DELETE ON matcher FOR EACH ROW EXECUTE FUNCTION wake_matchers();
CREATE TRIGGER match_region_wake AFTER UPDATE OF holder ON match_region
  FOR EACH ROW EXECUTE FUNCTION wake_matchers();
