-- The record of an incident: a history that cannot be changed unseen, PINs, evidence, drills.
-- depends: 0005.zones

-- ---------------------------------------------------------------- the flight recorder's chain
-- Every event carries the hash of the one before it in its incident. The form that is hashed is written down once more
-- in engine/safetap/chain.py, which `clenzy safetap verify` goes by.
CREATE FUNCTION incident_event_hash(prev_hash bytea, incident_id uuid, version integer, kind text, actor_id uuid,
                                    body jsonb, at timestamptz) RETURNS bytea LANGUAGE sql IMMUTABLE AS $$
  SELECT sha256(prev_hash || convert_to(
    jsonb_build_array(incident_id, version, kind, actor_id, (extract(epoch FROM at) * 1000000)::bigint, body)::text,
    'UTF8'))
$$;

ALTER TABLE incident_event ADD COLUMN prev_hash bytea, ADD COLUMN hash bytea;

DO $$
DECLARE
  event incident_event%ROWTYPE;
  before_id uuid;
  before_hash bytea;
BEGIN
  FOR event IN SELECT * FROM incident_event ORDER BY incident_id, version LOOP
    IF before_id IS DISTINCT FROM event.incident_id THEN
      before_hash := decode(repeat('00', 32), 'hex');
    END IF;
    event.hash := incident_event_hash(before_hash, event.incident_id, event.version, event.kind, event.actor_id,
                                      event.body, event.at);
    UPDATE incident_event SET prev_hash = before_hash, hash = event.hash
     WHERE incident_id = event.incident_id AND version = event.version;
    before_id := event.incident_id;
    before_hash := event.hash;
  END LOOP;
END $$;

ALTER TABLE incident_event ALTER COLUMN prev_hash SET NOT NULL, ALTER COLUMN hash SET NOT NULL;

-- Every writer holds the incident's row lock, so that no two events take the same predecessor.
CREATE FUNCTION chain_incident_event() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  SELECT hash INTO NEW.prev_hash FROM incident_event
   WHERE incident_id = NEW.incident_id ORDER BY version DESC LIMIT 1;
  NEW.prev_hash := coalesce(NEW.prev_hash, decode(repeat('00', 32), 'hex'));
  NEW.hash := incident_event_hash(NEW.prev_hash, NEW.incident_id, NEW.version, NEW.kind, NEW.actor_id, NEW.body, NEW.at);
  RETURN NEW;
END $$;
CREATE TRIGGER incident_event_chain BEFORE INSERT ON incident_event
  FOR EACH ROW EXECUTE FUNCTION chain_incident_event();

CREATE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  RAISE EXCEPTION '% is only ever added to', TG_TABLE_NAME USING ERRCODE = 'restrict_violation';
END $$;
CREATE TRIGGER incident_event_kept BEFORE UPDATE OR DELETE OR TRUNCATE ON incident_event
  FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();

-- ---------------------------------------------------------------- the audit log's chain
CREATE TABLE audit_chain (
  position  bigint PRIMARY KEY,                     -- 1, 2, 3, ... in the order of the commits
  audit_id  bigint NOT NULL UNIQUE,
  prev_hash bytea NOT NULL,
  hash      bytea NOT NULL
);

CREATE FUNCTION audit_hash(prev_hash bytea, entry audit_log) RETURNS bytea LANGUAGE sql IMMUTABLE AS $$
  SELECT sha256(prev_hash || convert_to(
    jsonb_build_array(entry.audit_id, entry.org_id, entry.actor_id, entry.action, entry.subject,
                      (extract(epoch FROM entry.at) * 1000000)::bigint, entry.detail)::text, 'UTF8'))
$$;

CREATE FUNCTION chain_audit_entry() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
  last_position bigint;
  last_hash bytea;
BEGIN
  PERFORM pg_advisory_xact_lock(7143417260231);
  SELECT position, hash INTO last_position, last_hash FROM audit_chain ORDER BY position DESC LIMIT 1;
  last_hash := coalesce(last_hash, decode(repeat('00', 32), 'hex'));
  INSERT INTO audit_chain (position, audit_id, prev_hash, hash)
  VALUES (coalesce(last_position, 0) + 1, NEW.audit_id, last_hash, audit_hash(last_hash, NEW));
  RETURN NULL;
END $$;
-- Deferred to the commit: the lock is held for the commit alone, and nothing else is waited for while it is held.
CREATE CONSTRAINT TRIGGER audit_log_chain AFTER INSERT ON audit_log DEFERRABLE INITIALLY DEFERRED
  FOR EACH ROW EXECUTE FUNCTION chain_audit_entry();

DO $$
DECLARE
  entry audit_log%ROWTYPE;
  place bigint := 0;
  before_hash bytea := decode(repeat('00', 32), 'hex');
BEGIN
  FOR entry IN SELECT * FROM audit_log ORDER BY audit_id LOOP
    place := place + 1;
    INSERT INTO audit_chain VALUES (place, entry.audit_id, before_hash, audit_hash(before_hash, entry))
    RETURNING hash INTO before_hash;
  END LOOP;
END $$;

CREATE TRIGGER audit_log_kept BEFORE UPDATE OR DELETE OR TRUNCATE ON audit_log
  FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
CREATE TRIGGER audit_chain_kept BEFORE UPDATE OR DELETE OR TRUNCATE ON audit_chain
  FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
CREATE INDEX audit_log_subject ON audit_log (subject, at DESC);

-- ---------------------------------------------------------------- working an incident
ALTER TABLE incident
  ADD COLUMN police_reference text,
  ADD COLUMN is_false_alarm   boolean NOT NULL DEFAULT false,   -- enters no score of anybody
  ADD COLUMN says_safe_at     timestamptz;                      -- a safe PIN was given; a human has still to close it

CREATE TABLE safety_pin (
  person_id   uuid PRIMARY KEY REFERENCES person ON DELETE CASCADE,
  safe_hash   text NOT NULL,
  duress_hash text NOT NULL,
  set_at      timestamptz NOT NULL
);

CREATE TABLE safety_pin_attempt (
  person_id uuid NOT NULL,
  at        timestamptz NOT NULL
);
CREATE INDEX safety_pin_attempt_person ON safety_pin_attempt (person_id, at);

CREATE TABLE evidence (
  evidence_id uuid PRIMARY KEY,                     -- the uploader's choice
  incident_id uuid NOT NULL REFERENCES incident,
  media_type  text NOT NULL,
  uploaded_by uuid NOT NULL REFERENCES person,
  created_at  timestamptz NOT NULL
);
CREATE INDEX evidence_incident ON evidence (incident_id);

CREATE TABLE evidence_chunk (
  evidence_id uuid NOT NULL REFERENCES evidence,
  n           integer NOT NULL CHECK (n >= 0),
  prev_hash   bytea NOT NULL CHECK (length(prev_hash) = 32),
  hash        bytea NOT NULL CHECK (length(hash) = 32),
  is_last     boolean NOT NULL,
  data        bytea NOT NULL,
  received_at timestamptz NOT NULL,
  PRIMARY KEY (evidence_id, n)
);
ALTER TABLE evidence_chunk ALTER COLUMN data SET STORAGE EXTERNAL;   -- sound and pictures are compressed already
CREATE TRIGGER evidence_chunk_kept BEFORE UPDATE OR DELETE OR TRUNCATE ON evidence_chunk
  FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();

CREATE TABLE drill_plan (
  org_id  uuid PRIMARY KEY REFERENCES org,
  every_h integer NOT NULL CHECK (every_h BETWEEN 1 AND 8760),
  next_at timestamptz NOT NULL
);
CREATE INDEX drill_plan_due ON drill_plan (next_at);
