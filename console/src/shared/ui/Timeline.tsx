import type { BookingEvent } from "../protocol/types";
import { Glyph } from "./Glyph";
import { BOOKING_LOOKS } from "./states";
import { clockTime } from "./time";

/** What happened to a booking, oldest first, in the time of its place. */
export function Timeline({ events, tz }: { readonly events: readonly BookingEvent[]; readonly tz: string }) {
  return (
    <ol className="timeline" data-testid="timeline">
      {events.map((event) => (
        <li key={event.version} data-state={event.to}>
          <Glyph look={BOOKING_LOOKS[event.to]} />
          <span className="grow">
            {BOOKING_LOOKS[event.to].label}
            <span className="faint small"> by {event.actor_role ?? "engine"}</span>
            {event.reason && <span className="timeline-reason small">{event.reason}</span>}
          </span>
          <time dateTime={event.at} className="faint small">
            {clockTime(event.at, tz)}
          </time>
        </li>
      ))}
    </ol>
  );
}
