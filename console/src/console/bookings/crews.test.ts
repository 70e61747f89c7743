import { describe, expect, it } from "vitest";

import type { Booking, Crew } from "../../shared/protocol/types";
import { newestCrew } from "./crews";

function seatOf(id: string, version: number): Booking {
  const crew = { crew_id: "a", version, seats: [{ booking_id: "a" }, { booking_id: "b" }] } as unknown as Crew;
  return { booking_id: id, crew } as unknown as Booking;
}

describe("newestCrew", () => {
  it("takes what the seat that changed last has told", () => {
    const first = seatOf("a", 3);
    const second = seatOf("b", 7);
    const byId = new Map([first, second, seatOf("c", 9)].map((booking) => [booking.booking_id, booking]));
    expect(newestCrew(byId, first)).toBe(second.crew);
    expect(newestCrew(byId, second)).toBe(second.crew);
  });

  it("has none for a job of one worker", () => {
    const alone = { booking_id: "a" } as unknown as Booking;
    expect(newestCrew(new Map([["a", alone]]), alone)).toBeUndefined();
  });
});
