-- Zones drawn on the map, who is in which, and every enter, exit and dwell that was seen.
-- depends: 0004.outbox_order

CREATE TABLE zone (
  zone_id    uuid PRIMARY KEY,
  org_id     uuid NOT NULL REFERENCES org,
  region_id  uuid REFERENCES region,                -- NULL: of the whole organisation
  kind       text NOT NULL CHECK (kind IN ('service_area', 'no_go', 'site')),
  name       text NOT NULL,
  geometry   jsonb NOT NULL,                        -- GeoJSON MultiPolygon, at most 7 decimals
  dwell_s    integer CHECK (dwell_s > 0),           -- NULL: nobody asks how long somebody stays
  active     boolean NOT NULL,
  version    integer NOT NULL,                      -- +1 with every change
  created_at timestamptz NOT NULL,
  updated_at timestamptz NOT NULL,
  deleted_at timestamptz                            -- kept: its events name it
);
CREATE INDEX zone_org ON zone (org_id, created_at DESC, zone_id DESC) WHERE deleted_at IS NULL;

-- Written by the zone watch alone, in the transaction of the event that tells of it.
CREATE TABLE zone_presence (
  worker_id  uuid NOT NULL REFERENCES worker ON DELETE CASCADE,
  zone_id    uuid NOT NULL REFERENCES zone,
  entered_at timestamptz NOT NULL,                  -- time of the fix that was first inside
  dwell_told boolean NOT NULL DEFAULT false,
  PRIMARY KEY (worker_id, zone_id)
);
CREATE INDEX zone_presence_zone ON zone_presence (zone_id);

CREATE TABLE zone_event (
  event_id    bigint PRIMARY KEY,                   -- without gaps in the order of detection; of one worker: in the order of time
  org_id      uuid NOT NULL REFERENCES org,
  zone_id     uuid NOT NULL REFERENCES zone,
  worker_id   uuid NOT NULL REFERENCES worker ON DELETE CASCADE,
  kind        text NOT NULL CHECK (kind IN ('enter', 'exit', 'dwell')),
  reason      text NOT NULL CHECK (reason IN ('moved', 'off_duty', 'zone_changed', 'recovered')),
  at          timestamptz NOT NULL,                 -- time of the fix that shows it
  detected_at timestamptz NOT NULL
);
CREATE INDEX zone_event_zone ON zone_event (zone_id, event_id);
CREATE INDEX zone_event_worker ON zone_event (worker_id, event_id);
CREATE INDEX zone_event_age ON zone_event (detected_at);

-- One watch at a time: every write names the generation that it was given, so one that was superseded writes no more.
CREATE TABLE zone_watch (
  generation    bigint NOT NULL,
  last_event_id bigint NOT NULL,
  only_row      boolean PRIMARY KEY DEFAULT true CHECK (only_row)
);
INSERT INTO zone_watch (generation, last_event_id) VALUES (0, 0);

CREATE FUNCTION wake_zone_watch() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  PERFORM pg_notify('clenzy_zone', '');
  RETURN NULL;
END $$;
CREATE TRIGGER zone_wake AFTER INSERT OR UPDATE ON zone FOR EACH STATEMENT EXECUTE FUNCTION wake_zone_watch();
