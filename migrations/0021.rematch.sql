-- A job on the way that another worker takes over.
-- depends: 0020.trip_shares

-- `replaced` follows `accepted`. `replaces`: who has the job until this offer's yes; NULL for a booking that searches.
ALTER TABLE offer DROP CONSTRAINT offer_state_check;
ALTER TABLE offer ADD CONSTRAINT offer_state_check
  CHECK (state IN ('open', 'accepted', 'declined', 'expired', 'withdrawn', 'handed_back', 'replaced'));
ALTER TABLE offer ADD COLUMN replaces uuid REFERENCES worker CHECK (replaces <> worker_id);

-- What the matcher has seen of a way: the least that was left of it, and since when. Gone with the way.
CREATE TABLE under_way (
  booking_id  uuid PRIMARY KEY REFERENCES booking,
  worker_id   uuid NOT NULL REFERENCES worker,
  least_eta_s integer,
  nearer_at   timestamptz,
  due_at      timestamptz NOT NULL
);
CREATE INDEX under_way_due ON under_way (due_at);
