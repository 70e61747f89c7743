import { describe, expect, it } from "vitest";

import { bookingRequest, changeDraft, EMPTY_DRAFT, type Draft } from "./draft";

const draft: Draft = { ...EMPTY_DRAFT, key: "k0" };

describe("draft of a booking", () => {
  it("gets a new idempotency key with each change of content, and only then", () => {
    let keys = 0;
    const make = (): string => `k${(keys += 1)}`;
    const changed = changeDraft(draft, { line: "Rua 1" }, make);
    expect(changed.key).toBe("k1");
    expect(bookingRequest(changed)).toBeNull();
    expect(changed.key).toBe("k1");
  });

  it("is a request only when service, pin and address are there; empty options stay out", () => {
    const full = { ...draft, serviceCode: "cleaning", pin: { lat: 41.15, lng: -8.61 }, line: " Rua 1 ", floor: " " };
    expect(bookingRequest({ ...full, pin: null })).toBeNull();
    expect(bookingRequest({ ...full, line: "  " })).toBeNull();
    expect(bookingRequest(full)).toEqual({ service_code: "cleaning", pin: { lat: 41.15, lng: -8.61 }, address: { line: "Rua 1" } });
    expect(bookingRequest({ ...full, floor: "2", entryNotes: "Bell 4", notes: "Dog" })).toMatchObject({
      address: { line: "Rua 1", floor: "2", entry_notes: "Bell 4" },
      notes: "Dog",
    });
  });
});
