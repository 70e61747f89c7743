-- Whether a person agreed that their phone records sound while they call for help. Nobody has who did not say so.
-- depends: 0014.matching_facts

ALTER TABLE safety_setup ADD COLUMN records_sound boolean NOT NULL DEFAULT false;
