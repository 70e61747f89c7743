-- How people are reached (text messages, calls, pushes), what became of it, and the doors of a locked phone.
-- depends: 0005.zones

ALTER TABLE notice
  DROP CONSTRAINT notice_channel_check,
  ADD CONSTRAINT notice_channel_check CHECK (channel IN ('desk', 'email', 'webhook', 'sms', 'voice', 'push', 'fcm')),
  ADD COLUMN reference   text,                      -- the provider's own name for it
  ADD COLUMN delivery    text CHECK (delivery IN ('delivered', 'read', 'undelivered')),  -- NULL: nothing was told yet
  ADD COLUMN delivery_at timestamptz;

CREATE INDEX notice_phone ON notice (address) WHERE channel IN ('sms', 'voice');

-- What a responder answers a text message with: one code for an incident and a phone, however often it is told.
CREATE TABLE reply_code (
  incident_id uuid NOT NULL REFERENCES incident,
  address     text NOT NULL,                        -- E.164
  code        text NOT NULL CHECK (code ~ '^[0-9]{4}$'),
  person_id   uuid NOT NULL REFERENCES person,      -- who was told, and acknowledges by it
  created_at  timestamptz NOT NULL,
  PRIMARY KEY (incident_id, address),
  UNIQUE (address, code)
);

CREATE TABLE wrong_reply (
  address_hash bytea NOT NULL,                      -- SHA-256 of the number: guessing counts, also from unknown ones
  at           timestamptz NOT NULL
);
CREATE INDEX wrong_reply_address ON wrong_reply (address_hash, at);

-- A browser that shows notifications (RFC 8030), with the keys that encrypt them for it alone (RFC 8291).
CREATE TABLE push_subscription (
  subscription_id uuid PRIMARY KEY,
  org_id          uuid NOT NULL REFERENCES org,
  person_id       uuid NOT NULL REFERENCES person ON DELETE CASCADE,
  endpoint        text NOT NULL,
  endpoint_hash   bytea NOT NULL UNIQUE,            -- SHA-256: an endpoint may be longer than an index takes
  p256dh          bytea NOT NULL CHECK (length(p256dh) = 65),   -- uncompressed P-256 point
  auth            bytea NOT NULL CHECK (length(auth) = 16),
  created_at      timestamptz NOT NULL
);
CREATE INDEX push_subscription_person ON push_subscription (person_id, created_at);

-- An app that is reached through Firebase Cloud Messaging.
CREATE TABLE push_device (
  push_device_id uuid PRIMARY KEY,
  org_id         uuid NOT NULL REFERENCES org,
  person_id      uuid NOT NULL REFERENCES person ON DELETE CASCADE,
  token          text NOT NULL,
  token_hash     bytea NOT NULL UNIQUE,             -- SHA-256, as above
  created_at     timestamptz NOT NULL
);
CREATE INDEX push_device_person ON push_device (person_id, created_at);

-- Whose text message or call is an alarm. Not unique: a number proves nothing, the word does.
CREATE TABLE phone_door (
  person_id     uuid PRIMARY KEY REFERENCES person ON DELETE CASCADE,
  phone         text NOT NULL,                      -- E.164
  word_hash     bytea NOT NULL,                     -- SHA-256 of the person's id and word
  is_call_alarm boolean NOT NULL,                   -- a mere call raises the alarm too
  updated_at    timestamptz NOT NULL
);
CREATE INDEX phone_door_phone ON phone_door (phone);

-- SafeTap's doors hold every number in memory, so that one counts while Postgres is away.
CREATE FUNCTION tell_phone_door() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  PERFORM pg_notify('clenzy_phone_door', '');
  RETURN NULL;
END $$;
CREATE TRIGGER phone_door_changed AFTER INSERT OR UPDATE OR DELETE ON phone_door
  FOR EACH STATEMENT EXECUTE FUNCTION tell_phone_door();
