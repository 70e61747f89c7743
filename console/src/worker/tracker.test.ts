import { describe, expect, it } from "vitest";

import { confirmed } from "./tracker";

describe("confirmed", () => {
  it("leaves a new reading as it is", () => {
    const reading = { measuredAtMs: 2_000, accuracyM: 5 };
    expect(confirmed(reading, 1_000, 9_000)).toEqual(reading);
  });

  it("restates an old reading as of now, ever less certain", () => {
    expect(confirmed({ measuredAtMs: 1_000, accuracyM: 5 }, 1_000, 21_000)).toEqual({ measuredAtMs: 21_000, accuracyM: 15 });
    expect(confirmed({ measuredAtMs: 1_000, accuracyM: 5 }, 1_000, 401_000).accuracyM).toBeGreaterThan(200);
  });
});
