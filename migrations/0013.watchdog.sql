-- Who of the processes that alarms depend on still works, and when the watchdog outside was last told so.
-- depends: 0012.privacy

-- One row a part of a process: written again and again by its process, only while that part does its work to the end.
-- `missed_at`: since when its peers take it for gone. A process that stops in good order deletes its rows.
CREATE TABLE process_beat (
  seat      text NOT NULL,
  part      text NOT NULL CHECK (part IN ('door', 'escalator', 'sender')),
  beat_at   timestamptz NOT NULL,
  missed_at timestamptz,
  PRIMARY KEY (seat, part)
);

-- At most one row: whichever process claims it pings for all.
CREATE TABLE outside_ping (
  is_only boolean PRIMARY KEY DEFAULT true CHECK (is_only),
  next_at timestamptz NOT NULL,
  sent_at timestamptz,
  trouble text NOT NULL DEFAULT ''       -- why the newest one was not sent; empty: it was
);

CREATE FUNCTION tell_peer() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  PERFORM pg_notify('clenzy_peer', '');
  RETURN NULL;
END $$;
CREATE TRIGGER process_beat_changed AFTER UPDATE OF missed_at ON process_beat
  FOR EACH ROW WHEN (OLD.missed_at IS DISTINCT FROM NEW.missed_at) EXECUTE FUNCTION tell_peer();
CREATE TRIGGER process_beat_forgotten AFTER DELETE ON process_beat
  FOR EACH ROW WHEN (OLD.missed_at IS NOT NULL) EXECUTE FUNCTION tell_peer();

-- The alarm that a monitoring centre works on for an incident, through the connector: one an incident.
CREATE TABLE centre_alarm (
  incident_id uuid PRIMARY KEY REFERENCES incident ON DELETE CASCADE,
  alarm_id    text NOT NULL,
  due_at      timestamptz NOT NULL,
  synced_ms   bigint NOT NULL,           -- time of the newest place that the centre has
  trouble     text NOT NULL DEFAULT '',
  ended_at    timestamptz
);
CREATE INDEX centre_alarm_live ON centre_alarm (due_at) WHERE ended_at IS NULL;

-- Who asked for an incident's close where two people must agree, and at which version: what happens to it later than
-- that (another press, a duress PIN) makes the asking void.
ALTER TABLE incident
  ADD COLUMN close_asked_by      uuid REFERENCES person,
  ADD COLUMN close_asked_version integer;
