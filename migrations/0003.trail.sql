-- Where workers on duty have been: every accepted fix, a table a day.
-- depends: 0002.device

-- No default partition: the keeper makes the days ahead, a writer that meets a missing one makes it, and an old day
-- goes as a whole. No foreign keys: the writer knows whose slot it is, and a look-up a fix would cost more
-- than the fix. Small integers with -1 for "unknown", widest first: 72 bytes a row, none of them padding but two.
CREATE TABLE trail (
  at           timestamptz NOT NULL,                -- the phone's time of the fix
  org_id       uuid NOT NULL,
  slot         integer NOT NULL,                    -- worker.slot
  lat_e7       integer NOT NULL,
  lng_e7       integer NOT NULL,
  accuracy_dm  smallint NOT NULL,
  speed_cm_s   smallint NOT NULL,                   -- at most 32767
  heading_ddeg smallint NOT NULL,                   -- tenths of a degree, clockwise from north
  PRIMARY KEY (slot, at)                            -- a batch that is sent again changes nothing
) PARTITION BY RANGE (at);
