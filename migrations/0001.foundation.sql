-- The truth: people, bookings, offers, incidents, timers, notices, events. Forward only.
-- depends:

CREATE TABLE org (
  org_id     uuid PRIMARY KEY,
  name       text NOT NULL,
  created_at timestamptz NOT NULL
);

CREATE TABLE region (
  region_id    uuid PRIMARY KEY,
  org_id       uuid NOT NULL REFERENCES org,
  name         text NOT NULL,
  country_code text NOT NULL CHECK (length(country_code) = 2),
  tz           text NOT NULL,                       -- IANA zone
  center_lat   double precision NOT NULL,
  center_lng   double precision NOT NULL
);

-- ---------------------------------------------------------------- people
CREATE TABLE person (
  person_id          uuid PRIMARY KEY,
  org_id             uuid NOT NULL REFERENCES org,
  region_id          uuid NOT NULL REFERENCES region,
  role               text NOT NULL CHECK (role IN ('customer', 'worker', 'dispatcher', 'admin')),
  email              text CHECK (email = lower(email)),
  phone              text,
  full_name          text NOT NULL,
  password_hash      text,
  external_ref       text,                          -- the caller's own key, makes batch creation repeatable
  is_demo            boolean NOT NULL DEFAULT false,
  status             text NOT NULL DEFAULT 'active' CHECK (status IN ('active', 'suspended')),
  tokens_valid_after timestamptz NOT NULL,          -- older access tokens are refused
  tz                 text NOT NULL,
  created_at         timestamptz NOT NULL
);
CREATE INDEX person_staff ON person (org_id) WHERE role IN ('dispatcher', 'admin');
CREATE UNIQUE INDEX person_email ON person (email) WHERE email IS NOT NULL;
CREATE UNIQUE INDEX person_external_ref ON person (org_id, external_ref) WHERE external_ref IS NOT NULL;

CREATE SEQUENCE worker_slot_seq AS integer MINVALUE 0 START 0;
CREATE TABLE worker (
  worker_id       uuid PRIMARY KEY REFERENCES person,
  slot            integer NOT NULL UNIQUE DEFAULT nextval('worker_slot_seq'),   -- row in every fixed-width table, never reused
  skills          integer NOT NULL DEFAULT 0,       -- bit mask, bits of service.skill_bit
  rating          real NOT NULL DEFAULT 4.5 CHECK (rating BETWEEN 0 AND 5),
  experience      real NOT NULL DEFAULT 0 CHECK (experience BETWEEN 0 AND 1),
  duty            text NOT NULL DEFAULT 'off' CHECK (duty IN ('off', 'on')),
  duty_since      timestamptz,
  jobs_done       integer NOT NULL DEFAULT 0,
  idle_since      timestamptz,
  updated_at      timestamptz NOT NULL
);

CREATE TABLE refresh_token (
  token_hash bytea PRIMARY KEY,                     -- SHA-256 of the token
  person_id  uuid NOT NULL REFERENCES person ON DELETE CASCADE,
  family_id  uuid NOT NULL,                         -- a reused token revokes its family
  issued_at  timestamptz NOT NULL,
  expires_at timestamptz NOT NULL,
  used_at    timestamptz,
  revoked_at timestamptz
);
CREATE INDEX refresh_token_family ON refresh_token (family_id);
CREATE INDEX refresh_token_person ON refresh_token (person_id);

CREATE TABLE enrolment_code (
  code_hash  bytea PRIMARY KEY,                     -- SHA-256 of the code; works once
  person_id  uuid NOT NULL REFERENCES person ON DELETE CASCADE,
  created_at timestamptz NOT NULL,
  expires_at timestamptz NOT NULL,
  used_at    timestamptz
);
CREATE INDEX enrolment_code_person ON enrolment_code (person_id);

CREATE TABLE sign_in_failure (
  account_hash bytea NOT NULL,                      -- SHA-256 of the lower-case e-mail: unknown ones count alike and tell nothing
  at           timestamptz NOT NULL
);
CREATE INDEX sign_in_failure_account ON sign_in_failure (account_hash, at);

CREATE TABLE idempotency_key (
  person_id    uuid NOT NULL,
  key          text NOT NULL CHECK (length(key) BETWEEN 1 AND 200),
  request_hash bytea NOT NULL,
  status       integer,                             -- NULL while the first request is under way
  body         bytea,
  created_at   timestamptz NOT NULL,
  PRIMARY KEY (person_id, key)
);
CREATE INDEX idempotency_key_age ON idempotency_key (created_at);

CREATE TABLE audit_log (
  audit_id  bigserial PRIMARY KEY,
  org_id    uuid,
  actor_id  uuid,
  action    text NOT NULL,
  subject   text NOT NULL,
  detail    jsonb NOT NULL DEFAULT '{}',
  at        timestamptz NOT NULL
);

-- ---------------------------------------------------------------- bookings
CREATE TABLE service (
  service_id   uuid PRIMARY KEY,
  org_id       uuid NOT NULL REFERENCES org,
  code         text NOT NULL,
  name         text NOT NULL,
  skill_bit    integer NOT NULL CHECK (skill_bit BETWEEN 0 AND 23),
  duration_min integer NOT NULL CHECK (duration_min BETWEEN 1 AND 1440),
  price_minor  bigint NOT NULL CHECK (price_minor >= 0),
  currency     text NOT NULL CHECK (length(currency) = 3),
  UNIQUE (org_id, code)
);

CREATE TABLE address (
  address_id  uuid PRIMARY KEY,
  org_id      uuid NOT NULL REFERENCES org,
  region_id   uuid NOT NULL REFERENCES region,
  customer_id uuid NOT NULL REFERENCES person,
  line        text NOT NULL,
  floor       text NOT NULL DEFAULT '',
  entry_notes text NOT NULL DEFAULT '',
  lat         double precision NOT NULL CHECK (lat BETWEEN -90 AND 90),
  lng         double precision NOT NULL CHECK (lng BETWEEN -180 AND 180),
  tz          text NOT NULL
);
CREATE INDEX address_customer ON address (customer_id);

CREATE TABLE booking (
  booking_id      uuid PRIMARY KEY,
  org_id          uuid NOT NULL REFERENCES org,
  region_id       uuid NOT NULL REFERENCES region,
  customer_id     uuid NOT NULL REFERENCES person,
  service_id      uuid NOT NULL REFERENCES service,
  address_id      uuid NOT NULL REFERENCES address,
  notes           text NOT NULL DEFAULT '',
  state           text NOT NULL CHECK (state IN ('searching', 'offered', 'assigned', 'en_route', 'arrived',
                    'in_progress', 'completed', 'confirmed', 'cancelled', 'unserved')),
  version         integer NOT NULL,                 -- +1 with every event; a conditional UPDATE names it
  worker_id       uuid REFERENCES worker,           -- set from `assigned` on
  tz              text NOT NULL,
  created_at      timestamptz NOT NULL,
  updated_at      timestamptz NOT NULL,
  search_until    timestamptz NOT NULL,
  next_attempt_at timestamptz,                      -- due for the matcher; NULL unless searching
  lease_until     timestamptz,
  fence           bigint NOT NULL DEFAULT 0,
  eta_promised_s  integer,                          -- ETA told with the assignment
  actual_start    timestamptz,
  actual_end      timestamptz,
  CHECK ((worker_id IS NOT NULL) = (state IN ('assigned', 'en_route', 'arrived', 'in_progress', 'completed', 'confirmed'))
         OR state = 'cancelled')
);
CREATE INDEX booking_due ON booking (next_attempt_at) WHERE state = 'searching';
CREATE INDEX booking_customer ON booking (customer_id, created_at DESC, booking_id DESC);
CREATE INDEX booking_org ON booking (org_id, created_at DESC, booking_id DESC);
CREATE INDEX booking_worker ON booking (worker_id, created_at DESC, booking_id DESC) WHERE worker_id IS NOT NULL;
CREATE UNIQUE INDEX booking_one_active_per_worker ON booking (worker_id)
  WHERE state IN ('assigned', 'en_route', 'arrived', 'in_progress');

CREATE TABLE booking_event (
  booking_id uuid NOT NULL REFERENCES booking,
  version    integer NOT NULL,
  state_from text,
  state_to   text NOT NULL,
  actor_role text NOT NULL,                         -- a role, or 'engine'
  actor_id   uuid,
  reason     text NOT NULL DEFAULT '',
  at         timestamptz NOT NULL,
  PRIMARY KEY (booking_id, version)
);

CREATE TABLE offer (
  offer_id    uuid PRIMARY KEY,
  org_id      uuid NOT NULL REFERENCES org,
  booking_id  uuid NOT NULL REFERENCES booking,
  worker_id   uuid NOT NULL REFERENCES worker,
  state       text NOT NULL CHECK (state IN ('open', 'accepted', 'declined', 'expired', 'withdrawn')),
  cost_min    real NOT NULL,
  eta_s       integer NOT NULL,
  sent_at     timestamptz NOT NULL,
  expires_at  timestamptz NOT NULL,
  answered_at timestamptz
);
CREATE UNIQUE INDEX offer_one_open_per_booking ON offer (booking_id) WHERE state = 'open';
CREATE UNIQUE INDEX offer_one_open_per_worker ON offer (worker_id) WHERE state = 'open';
CREATE INDEX offer_booking ON offer (booking_id);
CREATE INDEX offer_expiry ON offer (expires_at) WHERE state = 'open';

CREATE TABLE dispatch_log (
  dispatch_id bigserial PRIMARY KEY,
  org_id      uuid NOT NULL REFERENCES org,
  booking_id  uuid NOT NULL REFERENCES booking,
  worker_id   uuid REFERENCES worker,               -- NULL: nobody was found
  outcome     text NOT NULL,
  detail      jsonb NOT NULL,                       -- ranked candidates with every term of their cost, counts of who was ruled out and why
  took_us     integer NOT NULL,
  at          timestamptz NOT NULL
);
CREATE INDEX dispatch_log_booking ON dispatch_log (booking_id, at);

-- ---------------------------------------------------------------- events to tell
CREATE TABLE outbox (
  event_id     bigserial PRIMARY KEY,
  topic        text NOT NULL,                       -- user:<person_id> | desk:<org_id> | duty:<slot>
  kind         text NOT NULL,
  body         jsonb NOT NULL,
  created_at   timestamptz NOT NULL,
  published_at timestamptz
);
CREATE INDEX outbox_unpublished ON outbox (event_id) WHERE published_at IS NULL;
CREATE INDEX outbox_topic ON outbox (topic, event_id);

CREATE FUNCTION wake_relay() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  PERFORM pg_notify('clenzy_outbox', '');
  RETURN NULL;
END $$;
CREATE TRIGGER outbox_wake AFTER INSERT ON outbox FOR EACH STATEMENT EXECUTE FUNCTION wake_relay();

CREATE FUNCTION wake_matcher() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  PERFORM pg_notify('clenzy_booking', '');
  RETURN NULL;
END $$;
CREATE TRIGGER booking_wake AFTER INSERT OR UPDATE OF next_attempt_at ON booking
  FOR EACH ROW WHEN (NEW.next_attempt_at IS NOT NULL) EXECUTE FUNCTION wake_matcher();

CREATE FUNCTION wake_workers() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  PERFORM pg_notify('clenzy_worker', NEW.worker_id::text);
  RETURN NULL;
END $$;
CREATE TRIGGER worker_wake AFTER INSERT OR UPDATE ON worker FOR EACH ROW EXECUTE FUNCTION wake_workers();
-- An open offer and an active booking make their worker busy; OLD is NULL on INSERT.
CREATE FUNCTION wake_asked_worker() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  PERFORM pg_notify('clenzy_worker', coalesce(NEW.worker_id, OLD.worker_id)::text);
  RETURN NULL;
END $$;
CREATE TRIGGER offer_wake_worker AFTER INSERT OR UPDATE OF state ON offer
  FOR EACH ROW EXECUTE FUNCTION wake_asked_worker();
CREATE TRIGGER booking_wake_worker AFTER UPDATE OF state ON booking
  FOR EACH ROW WHEN (coalesce(NEW.worker_id, OLD.worker_id) IS NOT NULL) EXECUTE FUNCTION wake_asked_worker();

-- ---------------------------------------------------------------- SafeTap
CREATE TABLE escalation_policy (
  policy_id  uuid PRIMARY KEY,
  org_id     uuid NOT NULL REFERENCES org,
  region_id  uuid REFERENCES region,                -- NULL: the org's default
  name       text NOT NULL,
  body       jsonb NOT NULL,
  updated_at timestamptz NOT NULL
);
CREATE UNIQUE INDEX escalation_policy_place ON escalation_policy (org_id, coalesce(region_id, '00000000-0000-0000-0000-000000000000'));

CREATE TABLE incident (
  incident_id     uuid PRIMARY KEY,
  org_id          uuid NOT NULL REFERENCES org,
  region_id       uuid NOT NULL REFERENCES region,
  person_id       uuid NOT NULL REFERENCES person,
  person_role     text NOT NULL,
  booking_id      uuid REFERENCES booking,
  kind            text NOT NULL,
  is_drill        boolean NOT NULL DEFAULT false,
  state           text NOT NULL CHECK (state IN ('open', 'acknowledged', 'closed')),
  version         integer NOT NULL,
  severity        integer NOT NULL DEFAULT 1,
  step            integer NOT NULL DEFAULT 0,       -- the last step taken; one beyond the policy's: everybody was told
  policy          jsonb NOT NULL,                   -- frozen at the first trigger
  lat             double precision,
  lng             double precision,
  accuracy_m      real,
  fix_at          timestamptz,
  opened_at       timestamptz NOT NULL,
  acknowledged_at timestamptz,
  acknowledged_by uuid REFERENCES person,
  closed_at       timestamptz,
  closed_by       uuid REFERENCES person,
  close_reason    text
);
CREATE UNIQUE INDEX incident_one_open_per_person ON incident (person_id) WHERE state <> 'closed';
CREATE INDEX incident_org ON incident (org_id, opened_at DESC);

CREATE TABLE safetap_trigger (
  trigger_id  uuid NOT NULL,                        -- the device's choice
  incident_id uuid NOT NULL REFERENCES incident,
  person_id   uuid NOT NULL REFERENCES person,
  door        text NOT NULL,
  kind        text NOT NULL,
  token_state text NOT NULL CHECK (token_state IN ('valid', 'expired')),
  body        jsonb NOT NULL,
  received_at timestamptz NOT NULL,
  PRIMARY KEY (person_id, trigger_id)               -- the id of somebody else's trigger swallows nobody's alarm
);
CREATE INDEX safetap_trigger_incident ON safetap_trigger (incident_id);

CREATE TABLE incident_event (
  incident_id uuid NOT NULL REFERENCES incident,
  version     integer NOT NULL,
  kind        text NOT NULL,                        -- triggered, retriggered, step, notified, acknowledged, closed, ...
  actor_id    uuid,
  body        jsonb NOT NULL DEFAULT '{}',
  at          timestamptz NOT NULL,
  PRIMARY KEY (incident_id, version)
);

CREATE TABLE incident_timer (
  incident_id uuid PRIMARY KEY REFERENCES incident,
  due_at      timestamptz NOT NULL,
  step        integer NOT NULL,                     -- the step that is due
  loop        integer NOT NULL DEFAULT 0,           -- how often the whole ladder was climbed before
  fence       bigint NOT NULL DEFAULT 0,
  lease_until timestamptz
);
CREATE INDEX incident_timer_due ON incident_timer (due_at);

CREATE TABLE notice (
  notice_id       uuid PRIMARY KEY,
  incident_id     uuid NOT NULL REFERENCES incident,
  org_id          uuid NOT NULL REFERENCES org,
  idempotency_key text NOT NULL UNIQUE,             -- incident/loop/step/target/channel
  step            integer NOT NULL,
  loop            integer NOT NULL,
  target          text NOT NULL,
  channel         text NOT NULL CHECK (channel IN ('desk', 'email', 'webhook')),
  address         text NOT NULL,                    -- e-mail address, URL, or the org's desk
  state           text NOT NULL CHECK (state IN ('pending', 'sent', 'failed')),
  attempts        integer NOT NULL DEFAULT 0,
  last_error      text,
  due_at          timestamptz NOT NULL,
  lease_until     timestamptz,
  created_at      timestamptz NOT NULL,
  sent_at         timestamptz
);
CREATE INDEX notice_due ON notice (due_at) WHERE state = 'pending';
CREATE INDEX notice_incident ON notice (incident_id);

CREATE FUNCTION wake_escalator() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  PERFORM pg_notify('clenzy_safetap', '');
  RETURN NULL;
END $$;
CREATE TRIGGER incident_timer_wake AFTER INSERT OR UPDATE OF due_at ON incident_timer
  FOR EACH STATEMENT EXECUTE FUNCTION wake_escalator();

-- The desk's live sockets show every change, whichever process made it.
CREATE FUNCTION wake_desk() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  PERFORM pg_notify('clenzy_incident', NEW.incident_id::text);
  RETURN NULL;
END $$;
CREATE TRIGGER incident_wake AFTER INSERT OR UPDATE ON incident FOR EACH ROW EXECUTE FUNCTION wake_desk();

CREATE FUNCTION wake_notify() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  PERFORM pg_notify('clenzy_notice', '');
  RETURN NULL;
END $$;
CREATE TRIGGER notice_wake AFTER INSERT ON notice FOR EACH STATEMENT EXECUTE FUNCTION wake_notify();

-- A person or a door that dispatch must leave alone until a human has looked.
CREATE TABLE safety_hold (
  hold_id     uuid PRIMARY KEY,
  org_id      uuid NOT NULL REFERENCES org,
  incident_id uuid NOT NULL REFERENCES incident,
  person_id   uuid REFERENCES person,
  address_id  uuid REFERENCES address,
  created_at  timestamptz NOT NULL,
  released_at timestamptz,
  released_by uuid REFERENCES person
);
CREATE INDEX safety_hold_incident ON safety_hold (incident_id);
CREATE INDEX safety_hold_person ON safety_hold (person_id) WHERE released_at IS NULL;
CREATE INDEX safety_hold_address ON safety_hold (address_id) WHERE released_at IS NULL;

-- The matcher takes back at once what rings on a held worker's phone, or leads to a held door.
CREATE FUNCTION wake_hold() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  PERFORM pg_notify('clenzy_hold', coalesce(NEW.person_id::text, ''));
  RETURN NULL;
END $$;
CREATE TRIGGER safety_hold_wake AFTER INSERT OR UPDATE OF released_at ON safety_hold
  FOR EACH ROW EXECUTE FUNCTION wake_hold();
