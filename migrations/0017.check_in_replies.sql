-- Answers to a check-in by text message, and drills at set times of the week.
-- depends: 0015.sound_consent

-- Keyed hash of the number that the question went to: what comes from it is an answer.
ALTER TABLE silence_ask ADD COLUMN phone_index bytea;
CREATE INDEX silence_ask_phone ON silence_ask (phone_index) WHERE phone_index IS NOT NULL;

-- A provider may hand on the same message again, also after the next question: each counts once.
CREATE TABLE check_in_reply (
  reply_id  text NOT NULL,                          -- the provider's id of the message
  person_id uuid NOT NULL REFERENCES person ON DELETE CASCADE,
  at        timestamptz NOT NULL,
  PRIMARY KEY (reply_id, person_id)
);
CREATE INDEX check_in_reply_age ON check_in_reply (at);

-- Beside `drill_plan`: an organisation may practise by both.
CREATE TABLE drill_week (
  org_id  uuid PRIMARY KEY REFERENCES org,
  tz      text NOT NULL,
  days    text[] NOT NULL CHECK (cardinality(days) BETWEEN 1 AND 7),
  times   text[] NOT NULL CHECK (cardinality(times) >= 1),   -- HH:MM, local
  next_at timestamptz NOT NULL
);
CREATE INDEX drill_week_due ON drill_week (next_at);
