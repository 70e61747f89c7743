-- Offers to several at once, jobs handed back, jobs pinned to a worker.
-- depends: 0015.sound_consent

-- ---------------------------------------------------------------- offers
-- `handed_back` follows `accepted`. `round`: offers of one round were sent together. `ended_reason`: for a withdrawn one
-- what it was withdrawn for, in the word that the phone is told; a safety hold has none of its own.
ALTER TABLE offer DROP CONSTRAINT offer_state_check;
ALTER TABLE offer ADD CONSTRAINT offer_state_check
  CHECK (state IN ('open', 'accepted', 'declined', 'expired', 'withdrawn', 'handed_back'));
ALTER TABLE offer ADD COLUMN round integer NOT NULL DEFAULT 1 CHECK (round > 0);
ALTER TABLE offer ADD COLUMN ended_reason text
  CHECK (ended_reason IN ('taken', 'assigned', 'cancelled', 'pinned', 'not_available'));

-- Several may ring for one booking; one of them can win it.
DROP INDEX offer_one_open_per_booking;
CREATE INDEX offer_open_of_booking ON offer (booking_id) WHERE state = 'open';
CREATE UNIQUE INDEX offer_one_accepted_per_booking ON offer (booking_id) WHERE state = 'accepted';

-- ---------------------------------------------------------------- the desk's word
-- `pinned_worker_id`: the matcher asks nobody else, and takes the job away from nobody else.
ALTER TABLE booking ADD COLUMN pinned_worker_id uuid REFERENCES worker;
ALTER TABLE booking ADD COLUMN hand_backs integer NOT NULL DEFAULT 0;

-- ---------------------------------------------------------------- hand-backs
-- Who dropped out of which job, from where, and who said so. Enters no score: who leaves a door may have a reason.
CREATE TABLE hand_back (
  booking_id uuid NOT NULL REFERENCES booking,
  version    integer NOT NULL,                      -- of the booking after it
  worker_id  uuid NOT NULL REFERENCES worker,
  org_id     uuid NOT NULL REFERENCES org,
  state_from text NOT NULL CHECK (state_from IN ('assigned', 'en_route', 'arrived')),
  actor_role text NOT NULL CHECK (actor_role IN ('worker', 'dispatcher', 'admin')),
  actor_id   uuid NOT NULL REFERENCES person,
  at         timestamptz NOT NULL,
  PRIMARY KEY (booking_id, version)
);
CREATE INDEX hand_back_worker ON hand_back (worker_id, at);

-- A job handed back ends the watch over its worker like a cancelled one: only when they are heard of again, for somebody
-- else may have said it for them. Its next worker's steps are no sign of life of theirs.
CREATE OR REPLACE FUNCTION watch_job() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  IF NEW.state IN ('en_route', 'arrived', 'in_progress') THEN
    INSERT INTO silence_event (booking_id, person_id, org_id, round, kind, signal, at)
    SELECT booking_id, person_id, org_id, round, 'cleared', signal, NEW.updated_at FROM silence_watch
     WHERE booking_id = NEW.booking_id AND person_id = NEW.worker_id AND role = 'worker' AND stage = 'asked';
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
     WHERE booking_id = NEW.booking_id AND phase <> 'leaving'
       AND CASE role WHEN 'worker' THEN NEW.state IN ('cancelled', 'searching') ELSE stage = 'asked' END;
    DELETE FROM silence_watch WHERE booking_id = NEW.booking_id AND phase <> 'leaving';
  END IF;
  RETURN NULL;
END $$;
