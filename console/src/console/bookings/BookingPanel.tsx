import { useEffect, useState } from "react";
import { useStore } from "zustand";

import { latLngWords } from "../../shared/map/mercator";
import { sentenceOf } from "../../shared/protocol/problem";
import type { Booking } from "../../shared/protocol/types";
import { Age } from "../../shared/ui/Age";
import { StateTag } from "../../shared/ui/Glyph";
import { BOOKING_LOOKS, ENDED_STATES } from "../../shared/ui/states";
import { durationWords } from "../../shared/ui/time";
import { Timeline } from "../../shared/ui/Timeline";
import { useDesk } from "../deskContext";
import { PanelHead } from "../PanelHead";
import { hashOf } from "../route";
import { SkeletonRows } from "./BookingsBoard";
import { CrewSeats } from "./CrewSeats";
import { GiveToWorker } from "./GiveToWorker";
import { WhyThisWorker } from "./WhyThisWorker";

/** One booking: where it stands, who does it, how it came to that, and why this worker. */
export function BookingPanel({ bookingId }: { readonly bookingId: string }) {
  const desk = useDesk();
  const booking = useStore(desk.bookings, (state) => state.byId.get(bookingId));
  const [problem, setProblem] = useState<string | null>(null);
  const version = booking?.version;
  const isKnown = booking !== undefined;
  const hasEvents = booking?.events !== undefined;

  useEffect(() => {
    if (hasEvents) return;
    // Read again whenever an event has moved it on: the event carries no history.
    desk.loadBooking(bookingId).then(
      () => setProblem(null),
      (error: unknown) => setProblem(sentenceOf(error)),
    );
  }, [desk, bookingId, version, hasEvents]);

  useEffect(() => {
    const place = desk.bookings.getState().byId.get(bookingId)?.pin;
    if (place) desk.flyTo(place);
  }, [desk, bookingId, isKnown]);

  if (!booking) {
    return (
      <>
        <PanelHead title="Booking" back={{ name: "bookings" }} />
        {problem ? <p className="panel-problem">{problem}</p> : <SkeletonRows />}
      </>
    );
  }
  return (
    <>
      <PanelHead title={booking.address.line} note={`${booking.service_name} · ${booking.booking_id.slice(0, 8)}`} back={{ name: "bookings" }} />
      <div className="panel-body padded" data-testid="booking-panel" data-id={booking.booking_id} data-state={booking.state}>
        <p className="headline">
          <StateTag look={BOOKING_LOOKS[booking.state]} />
          <span className="faint">
            since <Age at={booking.updated_at} suffix="" />
          </span>
        </p>
        <BookingFacts booking={booking} />
        <CrewSeats booking={booking} />
        <GiveToWorker key={booking.booking_id} booking={booking} />
        <Actions key={booking.version} booking={booking} />
        {problem && <p className="panel-problem">{problem}</p>}
        <section>
          <h3>History</h3>
          {booking.events ? <Timeline events={booking.events} tz={booking.tz} /> : <SkeletonRows />}
        </section>
        <WhyThisWorker bookingId={bookingId} version={booking.version} />
      </div>
    </>
  );
}

function BookingFacts({ booking }: { readonly booking: Booking }) {
  const desk = useDesk();
  const { worker, address } = booking;
  return (
    <dl className="facts">
      <dt>Worker</dt>
      <dd>
        {worker ? (
          <a href={hashOf({ name: "worker", slot: worker.slot })}>
            {worker.name}
            {worker.rating !== null && <span className="faint"> · {worker.rating.toFixed(1)} of 5</span>}
          </a>
        ) : (
          "none yet"
        )}
      </dd>
      {booking.eta_s !== null && !ENDED_STATES.has(booking.state) && (
        <>
          <dt>Arrival</dt>
          <dd>
            about {durationWords(booking.eta_s * 1000)} <span className="faint">estimated <Age at={booking.updated_at} /></span>
          </dd>
        </>
      )}
      <dt>Customer</dt>
      <dd>{booking.customer?.name ?? "withheld"}</dd>
      <dt>Place</dt>
      <dd>
        <button type="button" className="link" onClick={() => desk.flyTo(booking.pin, 16)}>
          {latLngWords(booking.pin)}
        </button>
        {address.floor && <span className="block">Floor {address.floor}</span>}
        {address.entry_notes && <span className="block">{address.entry_notes}</span>}
      </dd>
      {booking.notes && (
        <>
          <dt>Notes</dt>
          <dd>{booking.notes}</dd>
        </>
      )}
    </dl>
  );
}

const DEEDS = {
  cancelled: "Cancel this booking",
  confirmed: "Confirm this booking",
  handed_back: "Take the job back",
  searched_again: "Search again",
} as const;
const HAND_BACK_STATES: ReadonlySet<string> = new Set(["assigned", "en_route", "arrived"]);

/** What a dispatcher may do now, each behind a second, deliberate step. */
function Actions({ booking }: { readonly booking: Booking }) {
  const desk = useDesk();
  const [asked, setAsked] = useState<keyof typeof DEEDS | null>(null);
  const [problem, setProblem] = useState<string | null>(null);
  const canCancel = !ENDED_STATES.has(booking.state) && booking.state !== "completed";
  const canConfirm = booking.state === "completed";
  const canTakeBack = HAND_BACK_STATES.has(booking.state);
  const doneOf = (deed: keyof typeof DEEDS, reason: string): Promise<void> => {
    if (deed === "handed_back") return desk.handBack(booking, reason);
    return deed === "searched_again" ? desk.searchAgain(booking, reason) : desk.moveBooking(booking, deed, reason);
  };
  const act = (reason: string): void => {
    if (!asked) return;
    doneOf(asked, reason).then(
      () => setAsked(null),
      (error: unknown) => setProblem(sentenceOf(error)),
    );
  };
  const isGivenUp = booking.state === "unserved";
  if (!canCancel && !canConfirm && !isGivenUp) return null;
  if (!asked) {
    return (
      <div className="actions">
        {canConfirm && (
          <button type="button" className="button" onClick={() => setAsked("confirmed")} data-testid="confirm-booking">
            Confirm for the customer
          </button>
        )}
        {isGivenUp && (
          <button type="button" className="button" onClick={() => setAsked("searched_again")} data-testid="search-again">
            Search again
          </button>
        )}
        {canTakeBack && (
          <button type="button" className="button" onClick={() => setAsked("handed_back")} data-testid="hand-back-booking">
            Take back and search again
          </button>
        )}
        {canCancel && (
          <button type="button" className="button" onClick={() => setAsked("cancelled")} data-testid="cancel-booking">
            Cancel booking
          </button>
        )}
      </div>
    );
  }
  return (
    <form
      className="actions column"
      onSubmit={(event) => {
        event.preventDefault();
        const reason = new FormData(event.currentTarget).get("reason");
        act(typeof reason === "string" ? reason.trim() : "");
      }}
    >
      <label>
        Reason
        <input name="reason" required autoFocus maxLength={200} />
      </label>
      <p className="form-problem" role="alert">
        {problem}
      </p>
      <div className="actions">
        <button type="submit" className="button primary">
          {DEEDS[asked]}
        </button>
        <button type="button" className="button quiet" onClick={() => setAsked(null)}>
          Keep it
        </button>
      </div>
    </form>
  );
}
