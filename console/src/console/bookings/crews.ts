import type { Booking, Crew } from "../../shared/protocol/types";

/** The newest that was told of a booking's crew: a change of one seat is told by that seat's booking alone. */
export function newestCrew(byId: ReadonlyMap<string, Booking>, booking: Booking): Crew | undefined {
  let newest = booking.crew;
  for (const seat of booking.crew?.seats ?? []) {
    const told = byId.get(seat.booking_id)?.crew;
    if (told && newest && told.version > newest.version) newest = told;
  }
  return newest;
}
