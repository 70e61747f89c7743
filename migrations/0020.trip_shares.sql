-- Links by which somebody without an account follows one trip until it ends.
-- depends: 0015.sound_consent

CREATE TABLE trip_share (
  share_id   uuid PRIMARY KEY,
  booking_id uuid NOT NULL,
  person_id  uuid NOT NULL REFERENCES person ON DELETE CASCADE,   -- the party that shared it
  token_hash bytea NOT NULL UNIQUE CHECK (length(token_hash) = 32),
  created_at timestamptz NOT NULL,
  expires_at timestamptz NOT NULL
);
CREATE INDEX trip_share_booking ON trip_share (booking_id, person_id);
CREATE INDEX trip_share_age ON trip_share (expires_at);
