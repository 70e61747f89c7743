-- Who is told: schedules of who is on call, armed desks, people's own contacts, volunteers.
-- depends: 0006.trigger_keys

ALTER TABLE escalation_policy ADD COLUMN version integer NOT NULL DEFAULT 1;   -- +1 with every change

-- The step that is due waits only because a desk is armed: once none is, it is due.
ALTER TABLE incident_timer ADD COLUMN waits_for_desk boolean NOT NULL DEFAULT false;
CREATE INDEX incident_timer_desk ON incident_timer (incident_id) WHERE waits_for_desk;

CREATE TABLE on_call_schedule (
  schedule_id uuid PRIMARY KEY,
  org_id      uuid NOT NULL REFERENCES org,
  name        text NOT NULL,
  body        jsonb NOT NULL,                       -- time zone and layers
  version     integer NOT NULL,                     -- +1 with every change
  created_at  timestamptz NOT NULL,
  updated_at  timestamptz NOT NULL,
  deleted_at  timestamptz                           -- kept: frozen policies name it
);
CREATE UNIQUE INDEX on_call_schedule_name ON on_call_schedule (org_id, lower(name)) WHERE deleted_at IS NULL;

CREATE TABLE on_call_override (
  override_id uuid PRIMARY KEY,
  schedule_id uuid NOT NULL REFERENCES on_call_schedule,
  replaces    uuid REFERENCES person,               -- NULL: nobody, somebody comes in addition
  person_id   uuid REFERENCES person,               -- NULL: nobody stands in
  starts_at   timestamptz NOT NULL,
  ends_at     timestamptz NOT NULL,
  created_by  uuid NOT NULL REFERENCES person,
  created_at  timestamptz NOT NULL,
  CHECK (starts_at < ends_at),
  CHECK (replaces IS NOT NULL OR person_id IS NOT NULL)
);
CREATE INDEX on_call_override_schedule ON on_call_override (schedule_id, ends_at);

-- What was said when one person took over from another. Never changed, never deleted.
CREATE TABLE shift_handover (
  handover_id uuid PRIMARY KEY,
  org_id      uuid NOT NULL REFERENCES org,
  schedule_id uuid NOT NULL REFERENCES on_call_schedule,
  from_person uuid NOT NULL REFERENCES person,
  to_person   uuid NOT NULL REFERENCES person,
  until       timestamptz NOT NULL,                 -- when the rotation goes on as written
  note        text NOT NULL,
  incidents   uuid[] NOT NULL,                      -- what was open then
  by_person   uuid NOT NULL REFERENCES person,
  at          timestamptz NOT NULL
);
CREATE INDEX shift_handover_org ON shift_handover (org_id, at DESC);

-- A desk whose socket lives, whose sound is unlocked and whose human was active lately. It says so again and again.
CREATE TABLE armed_desk (
  desk_id     uuid PRIMARY KEY,                     -- one live socket
  org_id      uuid NOT NULL REFERENCES org,
  person_id   uuid NOT NULL REFERENCES person ON DELETE CASCADE,
  armed_at    timestamptz NOT NULL,
  lease_until timestamptz NOT NULL
);
CREATE INDEX armed_desk_org ON armed_desk (org_id, lease_until);

-- What a person chose for the case that they call for help.
CREATE TABLE safety_setup (
  person_id       uuid PRIMARY KEY REFERENCES person ON DELETE CASCADE,
  contact_mode    text NOT NULL CHECK (contact_mode IN ('none', 'decoy', 'code_word')),
  code_word       text,                             -- what the caller says; told to the desk alone
  decoy_text      text,
  volunteers      boolean NOT NULL DEFAULT false,   -- a worker who agrees to look from outside
  updated_at      timestamptz NOT NULL,
  CHECK ((contact_mode = 'code_word') = (code_word IS NOT NULL))
);

CREATE TABLE safety_contact (
  contact_id        uuid PRIMARY KEY,
  person_id         uuid NOT NULL REFERENCES person ON DELETE CASCADE,
  position          integer NOT NULL,
  name              text NOT NULL,
  phone             text,
  email             text,
  may_be_at_address boolean NOT NULL,               -- then never told automatically
  created_at        timestamptz NOT NULL,
  CHECK (phone IS NOT NULL OR email IS NOT NULL),
  UNIQUE (person_id, position)
);

CREATE TABLE safety_volunteer (
  person_id     uuid PRIMARY KEY REFERENCES person ON DELETE CASCADE,
  trained_until timestamptz NOT NULL,
  recorded_by   uuid NOT NULL REFERENCES person,
  recorded_at   timestamptz NOT NULL
);
