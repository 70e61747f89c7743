-- Stock phone trackers: a token each, of which only the hash is kept. When one was last used is not: a worker off duty
-- leaves no trace.
-- depends: 0001.foundation

CREATE TABLE device (
  device_id  uuid PRIMARY KEY,
  org_id     uuid NOT NULL REFERENCES org,
  person_id  uuid NOT NULL REFERENCES worker ON DELETE CASCADE,
  token_hash bytea NOT NULL UNIQUE,                 -- SHA-256 of the token
  kind       text NOT NULL CHECK (kind IN ('owntracks', 'osmand', 'traccar', 'overland', 'gpslogger')),
  label      text NOT NULL,
  created_at timestamptz NOT NULL,
  revoked_at timestamptz
);
CREATE INDEX device_org ON device (org_id, created_at DESC, device_id DESC);
CREATE INDEX device_person ON device (person_id, created_at DESC, device_id DESC);
