-- What it takes to make a decision of the matcher again, to the bit.
-- depends: 0014.matching_facts

-- Whole policies, each once. `policy_hash`: SHA-256 of `content`, which is the policy as canonical JSON.
CREATE TABLE cost_policy (
  policy_hash  bytea PRIMARY KEY CHECK (octet_length(policy_hash) = 32),
  label        text NOT NULL,
  content      text NOT NULL,
  last_used_at timestamptz NOT NULL                 -- to the day: a policy goes after the last record that names it
);

-- A day's records lie in table (days since 1970) mod 32, `limits.DECISION_RECORD_SLOTS`. The tables are always there: no
-- offer waits for one to be made, and a day that is old is emptied as a whole.
CREATE TABLE decision_record (
  day_slot    smallint NOT NULL,
  dispatch_id bigint NOT NULL,                      -- the row of dispatch_log that it belongs to
  org_id      uuid NOT NULL,
  booking_id  uuid NOT NULL,
  policy_hash bytea NOT NULL,
  window_id   uuid,                                 -- NULL: decided by itself
  worker_ids  uuid[] NOT NULL,                      -- whose places are in `body`: an erasure finds them by it
  body        bytea NOT NULL CHECK (octet_length(body) <= 16384),   -- limits.DECISION_RECORD_BYTES_MAX
  at          timestamptz NOT NULL,
  PRIMARY KEY (day_slot, dispatch_id)
) PARTITION BY LIST (day_slot);

-- The problem of a window with its plan, once for all bookings of it.
CREATE TABLE window_record (
  day_slot  smallint NOT NULL,
  window_id uuid NOT NULL,
  body      bytea NOT NULL CHECK (octet_length(body) <= 1048576),   -- limits.WINDOW_RECORD_BYTES_MAX
  at        timestamptz NOT NULL,
  PRIMARY KEY (day_slot, window_id)
) PARTITION BY LIST (day_slot);
CREATE INDEX window_record_at ON window_record (day_slot, at);

-- They are compressed already; a record stays in its row.
ALTER TABLE decision_record ALTER COLUMN body SET STORAGE EXTERNAL;
ALTER TABLE window_record ALTER COLUMN body SET STORAGE EXTERNAL;
DO $$
BEGIN
  FOR slot IN 0..31 LOOP
    EXECUTE format('CREATE TABLE decision_record_%s PARTITION OF decision_record FOR VALUES IN (%s)'
                   ' WITH (toast_tuple_target = 8160)', lpad(slot::text, 2, '0'), slot);
    EXECUTE format('CREATE TABLE window_record_%s PARTITION OF window_record FOR VALUES IN (%s)',
                   lpad(slot::text, 2, '0'), slot);
  END LOOP;
END $$;
