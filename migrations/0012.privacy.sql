-- Personal data in envelopes with a key a person, legal holds, what is left of a deleted incident, contested reasons.
-- depends: 0009.incident_record

-- ---------------------------------------------------------------- envelopes
-- A person's data key, wrapped by a key that Postgres never sees. Erasing a person sets it to NULL: whatever was sealed
-- with it is noise from then on, in every copy. Backups leave this table out (docs/privacy.md).
CREATE TABLE person_key (
  person_id  uuid PRIMARY KEY REFERENCES person ON DELETE CASCADE,
  wrapped    bytea,
  created_at timestamptz NOT NULL,
  erased_at  timestamptz,
  CHECK ((wrapped IS NULL) = (erased_at IS NOT NULL))
);

-- What a statement hands back and forth: the wrapped key, what it seals, or the text that nobody has sealed yet. A
-- connection opens and seals on the client's side (engine/people/sealing.py); here nothing can be read.
CREATE TYPE sealed_text AS (wrapped bytea, sealed bytea, plain text);
CREATE TYPE sealed_bytes AS (wrapped bytea, sealed bytea, plain bytea);
-- Keyed hash of an address, by which it is found again without being kept.
CREATE TYPE blind_index AS (digest bytea);

-- The columns of clear text stay: the keeper empties them row by row, and old processes may run beside new ones.
ALTER TABLE person ADD COLUMN phone_sealed bytea;
CREATE INDEX person_unsealed ON person (person_id) WHERE phone IS NOT NULL;
ALTER TABLE address ADD COLUMN entry_notes_sealed bytea;
CREATE INDEX address_unsealed ON address (address_id) WHERE entry_notes <> '';
ALTER TABLE safety_contact
  ADD COLUMN name_sealed  bytea,
  ADD COLUMN phone_sealed bytea,
  ADD COLUMN email_sealed bytea,
  ADD COLUMN phone_index  bytea,
  ALTER COLUMN name DROP NOT NULL,
  DROP CONSTRAINT safety_contact_check,
  ADD CHECK (name IS NOT NULL OR name_sealed IS NOT NULL),
  ADD CHECK (coalesce(phone, email) IS NOT NULL OR coalesce(phone_sealed, email_sealed) IS NOT NULL);
CREATE INDEX safety_contact_unsealed ON safety_contact (contact_id) WHERE name IS NOT NULL;
-- Of a person's own contact; `address` is then the blind index, which tells one receiver from another.
ALTER TABLE notice ADD COLUMN address_sealed bytea;
-- `data` is sealed where this is set: its hash, which still holds when nobody can open it any more.
ALTER TABLE evidence_chunk ADD COLUMN sealed_hash bytea CHECK (length(sealed_hash) = 32);
CREATE INDEX evidence_chunk_unsealed ON evidence_chunk (evidence_id, n) WHERE sealed_hash IS NULL;

-- ---------------------------------------------------------------- legal hold
CREATE TABLE legal_hold (
  hold_id     uuid PRIMARY KEY,
  org_id      uuid NOT NULL REFERENCES org,
  incident_id uuid REFERENCES incident,
  person_id   uuid REFERENCES person,
  reason      text NOT NULL,
  set_by      uuid NOT NULL REFERENCES person,
  set_at      timestamptz NOT NULL,
  lifted_by   uuid REFERENCES person,
  lifted_at   timestamptz,
  lift_reason text,
  CHECK ((incident_id IS NULL) <> (person_id IS NULL)),
  CHECK ((lifted_at IS NULL) = (lifted_by IS NULL) AND (lifted_at IS NULL) = (lift_reason IS NULL))
);
CREATE UNIQUE INDEX legal_hold_incident ON legal_hold (incident_id) WHERE lifted_at IS NULL;
CREATE UNIQUE INDEX legal_hold_person ON legal_hold (person_id) WHERE lifted_at IS NULL;
CREATE INDEX legal_hold_org ON legal_hold (org_id, set_at DESC);

-- ---------------------------------------------------------------- what outlives an incident
-- A row an incident whose time is up, written in the transaction that deletes it. No person, no place, no moment.
CREATE TABLE incident_past (
  org_id         uuid NOT NULL REFERENCES org,
  opened_on      date NOT NULL,                     -- UTC
  kind           text NOT NULL,
  is_drill       boolean NOT NULL,
  is_false_alarm boolean NOT NULL,
  wait_s         double precision,
  open_s         double precision,
  lapsed         integer NOT NULL
);
CREATE INDEX incident_past_org ON incident_past (org_id, opened_on);

-- The places of an incident, kept when the days of the trail that they lie in are dropped.
CREATE TABLE incident_trail (
  incident_id  uuid NOT NULL REFERENCES incident,
  at           timestamptz NOT NULL,
  lat_e7       integer NOT NULL,
  lng_e7       integer NOT NULL,
  accuracy_dm  smallint NOT NULL,
  speed_cm_s   smallint NOT NULL,
  heading_ddeg smallint NOT NULL,
  PRIMARY KEY (incident_id, at)
);
ALTER TABLE incident ADD COLUMN trail_kept_at timestamptz;
CREATE INDEX incident_closed ON incident (closed_at) WHERE state = 'closed';

-- Which incidents' records the law's time has run out on: a row of theirs may be deleted while its name stands here,
-- which is for the one transaction of the keeper that writes it.
CREATE TABLE incident_expiry (
  incident_id uuid PRIMARY KEY,
  part        text NOT NULL CHECK (part IN ('evidence', 'all')),
  at          timestamptz NOT NULL
);

CREATE FUNCTION refuse_unexpired_event() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  IF TG_OP = 'DELETE' AND EXISTS (SELECT FROM incident_expiry x WHERE x.incident_id = OLD.incident_id AND x.part = 'all')
  THEN
    RETURN OLD;
  END IF;
  RAISE EXCEPTION '% is only ever added to', TG_TABLE_NAME USING ERRCODE = 'restrict_violation';
END $$;

-- A chunk may also be put into its envelope: once, and with nothing else changed.
CREATE FUNCTION refuse_unexpired_chunk() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  IF TG_OP = 'UPDATE' AND OLD.sealed_hash IS NULL AND NEW.sealed_hash = sha256(NEW.data)
     AND (NEW.evidence_id, NEW.n, NEW.prev_hash, NEW.hash, NEW.is_last, NEW.received_at)
         = (OLD.evidence_id, OLD.n, OLD.prev_hash, OLD.hash, OLD.is_last, OLD.received_at) THEN
    RETURN NEW;
  END IF;
  IF TG_OP = 'DELETE' AND EXISTS (
       SELECT FROM evidence e JOIN incident_expiry x USING (incident_id) WHERE e.evidence_id = OLD.evidence_id) THEN
    RETURN OLD;
  END IF;
  RAISE EXCEPTION '% is only ever added to', TG_TABLE_NAME USING ERRCODE = 'restrict_violation';
END $$;

DROP TRIGGER incident_event_kept ON incident_event;
CREATE TRIGGER incident_event_kept BEFORE UPDATE OR DELETE ON incident_event
  FOR EACH ROW EXECUTE FUNCTION refuse_unexpired_event();
CREATE TRIGGER incident_event_not_emptied BEFORE TRUNCATE ON incident_event
  FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
DROP TRIGGER evidence_chunk_kept ON evidence_chunk;
CREATE TRIGGER evidence_chunk_kept BEFORE UPDATE OR DELETE ON evidence_chunk
  FOR EACH ROW EXECUTE FUNCTION refuse_unexpired_chunk();
CREATE TRIGGER evidence_chunk_not_emptied BEFORE TRUNCATE ON evidence_chunk
  FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();

-- ---------------------------------------------------------------- reasons that a worker contests
CREATE TABLE contested_reason (
  contest_id  uuid PRIMARY KEY,
  org_id      uuid NOT NULL REFERENCES org,
  person_id   uuid NOT NULL REFERENCES person ON DELETE CASCADE,
  dispatch_id bigint NOT NULL REFERENCES dispatch_log,
  text_sealed bytea NOT NULL,
  at          timestamptz NOT NULL,
  answered_by uuid REFERENCES person,
  answered_at timestamptz,
  answer_sealed bytea,
  CHECK ((answered_at IS NULL) = (answered_by IS NULL) AND (answered_at IS NULL) = (answer_sealed IS NULL)),
  UNIQUE (person_id, dispatch_id)
);
CREATE INDEX contested_reason_org ON contested_reason (org_id, at DESC);
