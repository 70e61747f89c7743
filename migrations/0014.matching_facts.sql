-- What a worker has to show, carries and may work; what a service needs; whom a customer wishes for.
-- depends: 0013.watchdog

-- ---------------------------------------------------------------- kit
-- What an organisation names: bit by bit, so that a matcher compares thirty of them in one step.
CREATE TABLE kit_item (
  org_id uuid NOT NULL REFERENCES org,
  code   text NOT NULL CHECK (code ~ '^[a-z0-9][a-z0-9_-]{0,39}$'),
  kind   text NOT NULL CHECK (kind IN ('certificate', 'tool', 'part', 'vehicle', 'language')),
  name   text NOT NULL CHECK (length(name) BETWEEN 1 AND 100),
  bit    integer NOT NULL CHECK (bit BETWEEN 0 AND 29),   -- limits.KIT_BITS; never given to another item
  PRIMARY KEY (org_id, code),
  UNIQUE (org_id, bit)
);

CREATE TABLE worker_kit (
  worker_id  uuid NOT NULL REFERENCES worker ON DELETE CASCADE,
  org_id     uuid NOT NULL,
  code       text NOT NULL,
  expires_at timestamptz,                           -- a certificate's; NULL: never
  PRIMARY KEY (worker_id, code),
  FOREIGN KEY (org_id, code) REFERENCES kit_item
);

CREATE TABLE worker_level (
  worker_id uuid NOT NULL REFERENCES worker ON DELETE CASCADE,
  skill_bit integer NOT NULL CHECK (skill_bit BETWEEN 0 AND 23),
  level     real NOT NULL CHECK (level BETWEEN 0 AND 1),
  PRIMARY KEY (worker_id, skill_bit)
);

-- Parts and languages are wishes, the rest must be there.
CREATE TABLE service_kit (
  service_id uuid NOT NULL REFERENCES service ON DELETE CASCADE,
  org_id     uuid NOT NULL,
  code       text NOT NULL,
  PRIMARY KEY (service_id, code),
  FOREIGN KEY (org_id, code) REFERENCES kit_item
);
ALTER TABLE service ADD COLUMN level_wanted real NOT NULL DEFAULT 0 CHECK (level_wanted BETWEEN 0 AND 1);

-- ---------------------------------------------------------------- working time
CREATE TABLE shift (
  worker_id uuid NOT NULL REFERENCES worker ON DELETE CASCADE,
  starts_at timestamptz NOT NULL,
  ends_at   timestamptz NOT NULL CHECK (ends_at > starts_at),
  PRIMARY KEY (worker_id, starts_at)
);

-- Limits in minutes; NULL: none of this kind.
CREATE TABLE working_time_rule (
  org_id     uuid PRIMARY KEY REFERENCES org,
  daily_min  integer CHECK (daily_min BETWEEN 60 AND 1440),       -- in any 24 hours
  weekly_min integer CHECK (weekly_min BETWEEN 60 AND 10080),     -- in any 7 days
  rest_min   integer CHECK (rest_min BETWEEN 60 AND 1440)         -- off duty in one piece, in any 24 hours
);

-- On duty from when to when: what working time is counted from. Kept by the trigger below, whoever changes duty.
CREATE TABLE duty_period (
  worker_id uuid NOT NULL REFERENCES worker ON DELETE CASCADE,
  began_at  timestamptz NOT NULL,
  ended_at  timestamptz,
  PRIMARY KEY (worker_id, began_at)
);
CREATE INDEX duty_period_ended ON duty_period (ended_at);
INSERT INTO duty_period (worker_id, began_at)
SELECT worker_id, duty_since FROM worker WHERE duty = 'on' AND duty_since IS NOT NULL;

CREATE FUNCTION note_duty() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  IF NEW.duty = 'on' THEN
    INSERT INTO duty_period (worker_id, began_at) VALUES (NEW.worker_id, coalesce(NEW.duty_since, NEW.updated_at))
    ON CONFLICT (worker_id, began_at) DO UPDATE SET ended_at = NULL;
  ELSE
    UPDATE duty_period SET ended_at = greatest(began_at, NEW.updated_at)
     WHERE worker_id = NEW.worker_id AND ended_at IS NULL;
  END IF;
  RETURN NULL;
END $$;
CREATE TRIGGER worker_duty_began AFTER INSERT ON worker FOR EACH ROW WHEN (NEW.duty = 'on') EXECUTE FUNCTION note_duty();
CREATE TRIGGER worker_duty_changed AFTER UPDATE OF duty ON worker
  FOR EACH ROW WHEN (NEW.duty <> OLD.duty) EXECUTE FUNCTION note_duty();

-- ---------------------------------------------------------------- wishes
-- Preferred by the customer; blocked by the customer, or by the desk for either side of the pair.
CREATE TABLE customer_worker (
  customer_id uuid NOT NULL REFERENCES person ON DELETE CASCADE,
  worker_id   uuid NOT NULL REFERENCES worker ON DELETE CASCADE,
  said_by     text NOT NULL CHECK (said_by IN ('customer', 'desk')),
  wish        text NOT NULL CHECK (wish IN ('preferred', 'blocked')),
  PRIMARY KEY (customer_id, worker_id, said_by)
);
CREATE INDEX customer_worker_worker ON customer_worker (worker_id);

CREATE TABLE customer_language (
  customer_id uuid NOT NULL REFERENCES person ON DELETE CASCADE,
  org_id      uuid NOT NULL,
  code        text NOT NULL,
  PRIMARY KEY (customer_id, code),
  FOREIGN KEY (org_id, code) REFERENCES kit_item
);

-- ---------------------------------------------------------------- waking the matcher
CREATE TRIGGER worker_kit_wake AFTER INSERT OR UPDATE OR DELETE ON worker_kit
  FOR EACH ROW EXECUTE FUNCTION wake_asked_worker();
CREATE TRIGGER worker_level_wake AFTER INSERT OR UPDATE OR DELETE ON worker_level
  FOR EACH ROW EXECUTE FUNCTION wake_asked_worker();
CREATE TRIGGER shift_wake AFTER INSERT OR UPDATE OR DELETE ON shift
  FOR EACH ROW EXECUTE FUNCTION wake_asked_worker();
CREATE FUNCTION wake_all_workers() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  PERFORM pg_notify('clenzy_worker', '');
  RETURN NULL;
END $$;
CREATE TRIGGER working_time_rule_wake AFTER INSERT OR UPDATE OR DELETE ON working_time_rule
  FOR EACH STATEMENT EXECUTE FUNCTION wake_all_workers();

-- Answers of a worker, for the likelihood of the next one.
CREATE INDEX offer_worker_sent ON offer (worker_id, sent_at) WHERE state <> 'open';
CREATE INDEX booking_ended ON booking (actual_end) WHERE actual_end IS NOT NULL;
