-- Keys that only call for help, and triggers that nobody can vouch for.
-- depends: 0005.zones

-- What a device calls for help with when its access token has run out. It creates triggers and opens nothing else.
CREATE TABLE trigger_key (
  key_id      uuid PRIMARY KEY,
  person_id   uuid NOT NULL REFERENCES person ON DELETE CASCADE,
  secret_hash bytea NOT NULL UNIQUE,                -- SHA-256 of the secret; the secret itself is told once
  public_key  bytea NOT NULL CHECK (length(public_key) = 32),   -- Ed25519, of the pair whose seed is the secret
  label       text NOT NULL,
  created_at  timestamptz NOT NULL,
  revoked_at  timestamptz                           -- kept: what is sent with it then is marked, never dropped
);
CREATE INDEX trigger_key_person ON trigger_key (person_id, created_at DESC, key_id DESC);

-- SafeTap's doors hold every key and tracker in memory, so that one counts while Postgres is away.
CREATE FUNCTION tell_trigger_key() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  PERFORM pg_notify('clenzy_trigger_key', coalesce(NEW.key_id, OLD.key_id)::text);
  RETURN NULL;
END $$;
CREATE TRIGGER trigger_key_changed AFTER INSERT OR UPDATE OR DELETE ON trigger_key
  FOR EACH ROW EXECUTE FUNCTION tell_trigger_key();
CREATE FUNCTION tell_device() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  PERFORM pg_notify('clenzy_trigger_key', coalesce(NEW.device_id, OLD.device_id)::text);
  RETURN NULL;
END $$;
CREATE TRIGGER device_changed AFTER INSERT OR UPDATE OR DELETE ON device
  FOR EACH ROW EXECUTE FUNCTION tell_device();

ALTER TABLE incident ADD COLUMN trust text NOT NULL DEFAULT 'verified' CHECK (trust IN ('verified', 'unverified'));
ALTER TABLE safetap_trigger
  ADD COLUMN trust text NOT NULL DEFAULT 'verified' CHECK (trust IN ('verified', 'unverified')),
  DROP CONSTRAINT safetap_trigger_token_state_check,
  ADD CONSTRAINT safetap_trigger_token_state_check CHECK (token_state IN
    ('valid', 'expired', 'key', 'revoked', 'unknown', 'forged', 'unchecked'));

-- An unverified trigger of which not even the person could be told. The desk sees it; no incident comes of it.
CREATE TABLE orphan_trigger (
  orphan_id   uuid PRIMARY KEY,
  trigger_id  uuid NOT NULL,
  sender_hash bytea NOT NULL,                       -- SHA-256 of what it came with: its replay is the same record
  org_id      uuid REFERENCES org,                  -- NULL: not told either; every desk sees it
  door        text NOT NULL,
  kind        text NOT NULL,
  token_state text NOT NULL CHECK (token_state IN ('revoked', 'unknown', 'forged', 'unchecked')),
  body        jsonb NOT NULL,
  received_at timestamptz NOT NULL,
  UNIQUE (sender_hash, trigger_id)
);
CREATE INDEX orphan_trigger_newest ON orphan_trigger (received_at DESC, orphan_id DESC);
