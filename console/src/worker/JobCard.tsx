import { useState } from "react";

import { latLngWords } from "../shared/map/mercator";
import { sentenceOf } from "../shared/protocol/problem";
import type { Booking, BookingState } from "../shared/protocol/types";
import { StateTag } from "../shared/ui/Glyph";
import { BOOKING_LOOKS } from "../shared/ui/states";
import type { WorkerClient } from "./workerClient";

const NEXT: Partial<Record<BookingState, { readonly to: BookingState; readonly label: string; readonly lead: string }>> = {
  assigned: { to: "en_route", label: "Start driving", lead: "The job is yours. The customer sees you once you drive." },
  en_route: { to: "arrived", label: "I have arrived", lead: "You are on the way." },
  arrived: { to: "in_progress", label: "Start work", lead: "You are at the door." },
  in_progress: { to: "completed", label: "Work is done", lead: "You are working." },
};

/** The job in hand: where, how to get in, and the one next step. */
export function JobCard({ booking, client }: { readonly booking: Booking; readonly client: WorkerClient }) {
  const [isBusy, setBusy] = useState(false);
  const [problem, setProblem] = useState<string | null>(null);
  const next = NEXT[booking.state];
  const move = async (to: BookingState): Promise<void> => {
    setBusy(true);
    setProblem(null);
    try {
      await client.moveBooking(booking, to);
    } catch (error) {
      setProblem(sentenceOf(error));
    } finally {
      setBusy(false);
    }
  };
  const { address, pin } = booking;
  return (
    <section className="card job" data-testid="job" data-id={booking.booking_id} data-state={booking.state} aria-label="Your job">
      <p className="eyebrow">
        <StateTag look={BOOKING_LOOKS[booking.state]} />
      </p>
      <h2>{booking.service_name}</h2>
      <p className="quiet">{next?.lead}</p>
      <dl className="facts">
        <dt>Address</dt>
        <dd>
          <strong>{address.line}</strong>
          {address.floor && <span className="block">Floor {address.floor}</span>}
          {address.entry_notes && <span className="block">{address.entry_notes}</span>}
        </dd>
        <dt>Pin</dt>
        <dd>
          <a href={`geo:${pin.lat},${pin.lng}?q=${pin.lat},${pin.lng}`}>{latLngWords(pin)}</a>
        </dd>
        {booking.customer?.name && (
          <>
            <dt>Customer</dt>
            <dd>{booking.customer.name}</dd>
          </>
        )}
        {booking.notes && (
          <>
            <dt>Notes</dt>
            <dd>{booking.notes}</dd>
          </>
        )}
      </dl>
      <p className="form-problem" role="alert">
        {problem}
      </p>
      {next && (
        <button type="button" className="button thumb primary" disabled={isBusy} onClick={() => void move(next.to)} data-testid="next-step" data-to={next.to}>
          {next.label}
        </button>
      )}
    </section>
  );
}
