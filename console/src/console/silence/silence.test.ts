import { describe, expect, it } from "vitest";

import { strangeness, type SilentJob } from "./silenceWatch";

const JOB: SilentJob = {
  booking_id: "b",
  service_name: "Cleaning",
  person: { person_id: "p", name: "Ana", role: "worker" },
  phase: "in_progress",
  stage: "calm",
  signal: null,
  climbs_at: null,
  contact_mode: "none",
  heard_at: "2026-01-01T00:00:00Z",
  silent_s: 90,
  report_s: 5,
  silent_after_s: 180,
  phase_s: 600,
  usual_s: 3_600,
};

describe("strangeness", () => {
  it("is silence against this phone's own usual, and nothing where there is nothing to compare with", () => {
    expect(strangeness(JOB)).toBe(0.5);
    expect(strangeness({ ...JOB, silent_after_s: null })).toBeNull();
    expect(strangeness({ ...JOB, silent_s: null })).toBeNull();
    expect(strangeness({ ...JOB, silent_after_s: 0 })).toBeNull();
  });
});
