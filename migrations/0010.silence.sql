-- Silence is a signal: who is watched on which job, what they were asked, and what is usual.
-- depends: 0009.incident_record

-- One person on one job under way. Made, moved and ended by the booking's own transaction (below); advanced by whoever
-- holds the lease.
CREATE TABLE silence_watch (
  booking_id      uuid NOT NULL REFERENCES booking,
  person_id       uuid NOT NULL REFERENCES person ON DELETE CASCADE,
  org_id          uuid NOT NULL REFERENCES org,
  role            text NOT NULL CHECK (role IN ('worker', 'customer')),
  phase           text NOT NULL CHECK (phase IN ('en_route', 'arrived', 'in_progress', 'leaving')),
  phase_since     timestamptz NOT NULL,
  stage           text NOT NULL DEFAULT 'calm' CHECK (stage IN ('calm', 'asked', 'climbed')),
  round           integer NOT NULL DEFAULT 1,       -- +1 with every return to calm: names the trigger of a climb
  signal          text CHECK (signal IN ('check_in_missed', 'silence', 'long_stop', 'off_site', 'overrun')),
  asked_at        timestamptz,
  calm_at         timestamptz NOT NULL,             -- the last answer, or act, of the person themselves
  silent_after_s  integer,                          -- as of the last look, for people to read
  report_s        real,
  usual_s         integer,
  overrun_after_s integer,
  check_in_at     timestamptz,
  due_at          timestamptz,                      -- the next look; NULL: nobody watches
  fence           bigint NOT NULL DEFAULT 0,
  lease_until     timestamptz,
  PRIMARY KEY (booking_id, person_id),
  CHECK ((stage = 'calm') = (signal IS NULL)),
  CHECK ((stage = 'calm') = (asked_at IS NULL))
);
CREATE INDEX silence_watch_due ON silence_watch (due_at) WHERE due_at IS NOT NULL;
CREATE INDEX silence_watch_person ON silence_watch (person_id);
CREATE INDEX silence_watch_org ON silence_watch (org_id);

-- What the watch did, for the person whom it is about and for the desk. Enters no score of anybody.
CREATE TABLE silence_event (
  event_id   bigserial PRIMARY KEY,
  booking_id uuid NOT NULL,
  person_id  uuid NOT NULL REFERENCES person ON DELETE CASCADE,
  org_id     uuid NOT NULL REFERENCES org,
  round      integer NOT NULL,
  kind       text NOT NULL CHECK (kind IN ('asked', 'answered', 'cleared', 'climbed', 'calmed')),
  signal     text,
  at         timestamptz NOT NULL
);
CREATE INDEX silence_event_watch ON silence_event (booking_id, person_id, event_id);
CREATE INDEX silence_event_age ON silence_event (at);

CREATE TABLE silence_policy (
  policy_id  uuid PRIMARY KEY,
  org_id     uuid NOT NULL REFERENCES org,
  service_id uuid REFERENCES service,               -- NULL: of every service without one of its own
  body       jsonb NOT NULL,
  version    integer NOT NULL,                      -- +1 with every change
  updated_at timestamptz NOT NULL
);
CREATE UNIQUE INDEX silence_policy_place ON silence_policy
  (org_id, coalesce(service_id, '00000000-0000-0000-0000-000000000000'));

-- Many phones silent at once are our own fault, or a network's: one fact for the desks instead of an alarm for each.
CREATE TABLE silence_outage (
  outage_id uuid PRIMARY KEY,
  region_id uuid REFERENCES region,                 -- NULL: of the whole installation
  began_at  timestamptz NOT NULL,
  phones    integer NOT NULL,                       -- asked after
  silent    integer NOT NULL,                       -- of them
  seen_at   timestamptz NOT NULL,
  ended_at  timestamptz
);
CREATE UNIQUE INDEX silence_outage_open ON silence_outage
  (coalesce(region_id, '00000000-0000-0000-0000-000000000000')) WHERE ended_at IS NULL;

-- A text message to somebody who chose to be asked by one.
CREATE TABLE silence_ask (
  ask_id      uuid PRIMARY KEY,                     -- of the watch and its round: asked once
  person_id   uuid NOT NULL REFERENCES person ON DELETE CASCADE,
  org_id      uuid NOT NULL REFERENCES org,
  booking_id  uuid NOT NULL,
  round       integer NOT NULL,
  state       text NOT NULL CHECK (state IN ('pending', 'sent', 'failed')),
  attempts    integer NOT NULL DEFAULT 0,
  last_error  text,
  due_at      timestamptz NOT NULL,
  lease_until timestamptz,
  created_at  timestamptz NOT NULL,
  sent_at     timestamptz
);
CREATE INDEX silence_ask_due ON silence_ask (due_at) WHERE state = 'pending';

-- ---------------------------------------------------------------- the seam
-- In the transaction of the move, whoever makes it and by whatever way: a job that is under way without a watch cannot
-- exist. A move is an act of the worker, hence a sign of life. Who else ends a job does not end the watch over its
-- worker: that goes on until they are heard of, for a customer could end the job of somebody who cannot speak.
CREATE FUNCTION watch_job() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  IF NEW.state IN ('en_route', 'arrived', 'in_progress') THEN
    INSERT INTO silence_event (booking_id, person_id, org_id, round, kind, signal, at)
    SELECT booking_id, person_id, org_id, round, 'cleared', signal, NEW.updated_at FROM silence_watch
     WHERE booking_id = NEW.booking_id AND role = 'worker' AND stage = 'asked';
    INSERT INTO silence_watch AS had (booking_id, person_id, org_id, role, phase, phase_since, calm_at, due_at)
    SELECT NEW.booking_id, person_id, NEW.org_id, role, NEW.state, NEW.updated_at, NEW.updated_at, NEW.updated_at
      FROM (VALUES (NEW.worker_id, 'worker'), (NEW.customer_id, 'customer')) AS party (person_id, role)
     WHERE person_id IS NOT NULL
     ORDER BY person_id
    ON CONFLICT (booking_id, person_id) DO UPDATE
       SET phase = excluded.phase, phase_since = excluded.phase_since, due_at = excluded.due_at,
           fence = had.fence + 1, lease_until = NULL,
           calm_at = CASE WHEN had.role = 'worker' THEN excluded.calm_at ELSE had.calm_at END,
           round = had.round + CASE WHEN had.role = 'worker' AND had.stage = 'asked' THEN 1 ELSE 0 END,
           signal = CASE WHEN had.role = 'worker' AND had.stage = 'asked' THEN NULL ELSE had.signal END,
           asked_at = CASE WHEN had.role = 'worker' AND had.stage = 'asked' THEN NULL ELSE had.asked_at END,
           stage = CASE WHEN had.role = 'worker' AND had.stage = 'asked' THEN 'calm' ELSE had.stage END;
  ELSIF OLD.state IN ('en_route', 'arrived', 'in_progress') THEN
    -- A worker who says that the job is done is heard by that; who was asked and has not answered is still to answer.
    UPDATE silence_watch
       SET phase = 'leaving', phase_since = NEW.updated_at, due_at = NEW.updated_at, fence = fence + 1,
           lease_until = NULL
     WHERE booking_id = NEW.booking_id
       AND CASE role WHEN 'worker' THEN NEW.state = 'cancelled' ELSE stage = 'asked' END;
    DELETE FROM silence_watch WHERE booking_id = NEW.booking_id AND phase <> 'leaving';
  END IF;
  RETURN NULL;
END $$;
CREATE TRIGGER booking_watch AFTER INSERT OR UPDATE OF state ON booking FOR EACH ROW EXECUTE FUNCTION watch_job();

INSERT INTO silence_watch (booking_id, person_id, org_id, role, phase, phase_since, calm_at, due_at)
SELECT b.booking_id, party.person_id, b.org_id, party.role, b.state, b.updated_at, b.updated_at, b.updated_at
  FROM booking b
 CROSS JOIN LATERAL (VALUES (b.worker_id, 'worker'), (b.customer_id, 'customer')) AS party (person_id, role)
 WHERE b.state IN ('en_route', 'arrived', 'in_progress') AND party.person_id IS NOT NULL;
