import { useStore } from "zustand";

import type { Booking, Crew } from "../../shared/protocol/types";
import { StateTag } from "../../shared/ui/Glyph";
import { BOOKING_LOOKS } from "../../shared/ui/states";
import { useDesk } from "../deskContext";
import { hashOf } from "../route";
import { newestCrew } from "./crews";

/** Who else is on the job: every seat with its worker, each a way to its own booking. Nothing for a job of one. */
export function CrewSeats({ booking }: { readonly booking: Booking }) {
  const byId = useStore(useDesk().bookings, (state) => state.byId);
  const crew: Crew | undefined = newestCrew(byId, booking);
  if (!crew) return null;
  return (
    <section data-testid="crew" data-state={crew.state}>
      <h3>
        Crew of {crew.seats.length} <StateTag look={BOOKING_LOOKS[crew.state]} />
      </h3>
      <ul className="crew-seats">
        {crew.seats.map((seat) => (
          <li key={seat.booking_id} data-testid="crew-seat" data-seat={seat.seat} data-state={seat.state}>
            {seat.booking_id === booking.booking_id ? (
              <strong>{seat.role}</strong>
            ) : (
              <a href={hashOf({ name: "booking", id: seat.booking_id })}>{seat.role}</a>
            )}{" "}
            · {seat.worker?.name ?? "nobody yet"} <StateTag look={BOOKING_LOOKS[seat.state]} />
          </li>
        ))}
      </ul>
    </section>
  );
}
