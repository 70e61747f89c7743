import { useDeferredValue, useMemo, useState } from "react";
import { useStore } from "zustand";

import { BOOKING_STATES, type Booking, type BookingState } from "../../shared/protocol/types";
import { Age } from "../../shared/ui/Age";
import { Glyph, StateTag } from "../../shared/ui/Glyph";
import { BOOKING_LOOKS } from "../../shared/ui/states";
import { useDesk } from "../deskContext";
import { PanelHead } from "../PanelHead";
import { go, hashOf } from "../route";
import { boardRows, countByState } from "./bookingsStore";

const ROWS_SHOWN = 120;

/** All bookings of the organisation, live; filtered by state and by words. */
export function BookingsBoard() {
  const desk = useDesk();
  const { byId, loadedAtMs, nextCursor, problem } = useStore(desk.bookings);
  const [states, setStates] = useState<ReadonlySet<BookingState>>(new Set());
  const [search, setSearch] = useState("");
  const [shown, setShown] = useState(ROWS_SHOWN);
  const words = useDeferredValue(search);
  const rows = useMemo(() => boardRows(byId, { states, search: words }), [byId, states, words]);
  const counts = useMemo(() => countByState(byId), [byId]);
  const toggle = (state: BookingState): void => {
    const next = new Set(states);
    if (!next.delete(state)) next.add(state);
    setStates(next);
  };

  return (
    <>
      <PanelHead
        title="Bookings"
        note={
          <>
            {rows.length.toLocaleString("en")} shown of {byId.size.toLocaleString("en")} here, list read <Age at={loadedAtMs} />
          </>
        }
      />
      <div className="panel-tools">
        <input
          type="search"
          placeholder="Search address, person, service, id"
          aria-label="Search bookings"
          value={search}
          onChange={(event) => setSearch(event.target.value)}
          data-testid="booking-search"
        />
        <div className="chips" role="group" aria-label="States">
          {BOOKING_STATES.map((state) => (
            <button key={state} type="button" className="chip" aria-pressed={states.has(state)} onClick={() => toggle(state)} data-testid={`filter-${state}`}>
              <Glyph look={BOOKING_LOOKS[state]} size={10} />
              {BOOKING_LOOKS[state].label} <b>{counts[state]}</b>
            </button>
          ))}
        </div>
      </div>
      {problem && <p className="panel-problem">The list could not be read: {problem}</p>}
      <div className="panel-body" tabIndex={0} role="region" aria-label="List of bookings">
        {loadedAtMs === null && byId.size === 0 ? (
          <SkeletonRows />
        ) : rows.length === 0 ? (
          <p className="empty">No booking matches.</p>
        ) : (
          <BookingTable rows={rows.slice(0, shown)} />
        )}
        <div className="panel-more">
          {rows.length > shown && (
            <button type="button" className="button" onClick={() => setShown(shown + ROWS_SHOWN)}>
              Show more of these
            </button>
          )}
          {nextCursor && rows.length <= shown && (
            <button type="button" className="button" onClick={() => void desk.loadBookings(nextCursor)}>
              Load older bookings
            </button>
          )}
        </div>
      </div>
    </>
  );
}

function BookingTable({ rows }: { readonly rows: readonly Booking[] }) {
  return (
    <table className="table" data-testid="bookings-table">
      <thead>
        <tr>
          <th scope="col">State</th>
          <th scope="col">What and where</th>
          <th scope="col">Worker</th>
          <th scope="col" className="num">
            Changed
          </th>
        </tr>
      </thead>
      <tbody>
        {rows.map((booking) => (
          <tr key={booking.booking_id} data-testid="booking-row" data-id={booking.booking_id} data-state={booking.state} onClick={() => go({ name: "booking", id: booking.booking_id })}>
            <td>
              <StateTag look={BOOKING_LOOKS[booking.state]} />
            </td>
            <td className="fill clip">
              <a href={hashOf({ name: "booking", id: booking.booking_id })} className="row-link">
                {booking.address.line}
              </a>
              <span className="faint small block">{booking.service_name}</span>
            </td>
            <td className="clip">{booking.worker?.name ?? <span className="faint">none yet</span>}</td>
            <td className="num faint">
              <Age at={booking.updated_at} suffix="" />
            </td>
          </tr>
        ))}
      </tbody>
    </table>
  );
}

export function SkeletonRows() {
  return (
    <div className="skeleton-rows" role="status" aria-label="Loading">
      {Array.from({ length: 8 }, (_, row) => (
        <i key={row} className="skeleton" />
      ))}
    </div>
  );
}
