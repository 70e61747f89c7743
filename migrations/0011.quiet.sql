-- The discreet cue by which a person's own phone tells them that their alarm has arrived.
-- depends: 0009.incident_record

ALTER TABLE safety_setup
  ADD COLUMN cue text NOT NULL DEFAULT 'dot' CHECK (cue IN ('none', 'dot', 'buzz'));
