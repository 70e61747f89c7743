-- Jobs for two workers or more, and what a job takes that is no worker: a bay, a tool, a vehicle.
-- depends: 0021.rematch

-- ---------------------------------------------------------------- crews
-- A crew is a booking for each seat; `crew_id` is the first one's id. `version`: +1 with every change of a seat; the row
-- is locked last, so that who reads a crew for its people has seen what came before.
CREATE TABLE crew (
  crew_id uuid PRIMARY KEY,
  org_id  uuid NOT NULL REFERENCES org,
  version integer NOT NULL
);
ALTER TABLE booking ADD COLUMN crew_id uuid REFERENCES crew;
ALTER TABLE booking ADD COLUMN seat smallint NOT NULL DEFAULT 1 CHECK (seat BETWEEN 1 AND 4);   -- limits.CREW_WORKERS_MAX
ALTER TABLE booking ADD COLUMN seat_role text;
ALTER TABLE booking ADD CONSTRAINT booking_crew_check
  CHECK (CASE WHEN crew_id IS NULL THEN seat = 1 AND seat_role IS NULL
              ELSE seat_role IS NOT NULL AND (seat = 1) = (booking_id = crew_id) END);
CREATE UNIQUE INDEX booking_seat ON booking (crew_id, seat) WHERE crew_id IS NOT NULL;
-- Nobody fills two seats of one crew, not even one after the other.
CREATE UNIQUE INDEX booking_one_seat_per_worker ON booking (crew_id, worker_id)
  WHERE crew_id IS NOT NULL AND worker_id IS NOT NULL AND state <> 'cancelled';

-- The seats of a service beside the first, which is the service's own. Each asks what its own service asks.
CREATE TABLE service_seat (
  service_id      uuid NOT NULL REFERENCES service ON DELETE CASCADE,
  seat            smallint NOT NULL CHECK (seat BETWEEN 2 AND 4),
  role            text NOT NULL CHECK (length(role) BETWEEN 1 AND 40),
  seat_service_id uuid NOT NULL REFERENCES service,
  PRIMARY KEY (service_id, seat)
);

-- ---------------------------------------------------------------- resources
CREATE TABLE resource (
  resource_id uuid PRIMARY KEY,
  org_id      uuid NOT NULL REFERENCES org,
  code        text NOT NULL CHECK (code ~ '^[a-z0-9][a-z0-9_-]{0,39}$'),
  kind        text NOT NULL CHECK (kind IN ('bay', 'tool', 'vehicle', 'other')),
  name        text NOT NULL CHECK (length(name) BETWEEN 1 AND 100),
  capacity    integer NOT NULL CHECK (capacity BETWEEN 0 AND 1000),   -- limits.RESOURCE_UNITS_MAX; 0: out of use
  UNIQUE (org_id, code)
);
CREATE TABLE service_resource (
  service_id  uuid NOT NULL REFERENCES service ON DELETE CASCADE,
  resource_id uuid NOT NULL REFERENCES resource,
  units       integer NOT NULL CHECK (units BETWEEN 1 AND 1000),
  PRIMARY KEY (service_id, resource_id)
);
-- What a job has reserved, from when it began to search until its end; `ended_at` NULL: it has it. A crew's stand with
-- its first seat, and end with its last.
CREATE TABLE resource_use (
  booking_id  uuid NOT NULL REFERENCES booking,
  resource_id uuid NOT NULL REFERENCES resource,
  units       integer NOT NULL CHECK (units > 0),
  began_at    timestamptz NOT NULL,
  ended_at    timestamptz CHECK (ended_at >= began_at),
  PRIMARY KEY (booking_id, resource_id, began_at)
);
CREATE INDEX resource_use_live ON resource_use (resource_id) WHERE ended_at IS NULL;
ALTER TABLE booking ADD COLUMN needs_resources boolean NOT NULL DEFAULT false;
