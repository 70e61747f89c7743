import { useEffect, useMemo, useState } from "react";
import { useStore } from "zustand";

import { FollowMap } from "../shared/map/FollowMap";
import type { MapPort } from "../shared/map/mapPort";
import type { Marker } from "../shared/map/MapSurface";
import { sentenceOf } from "../shared/protocol/problem";
import type { Booking, BookingState, Crew, Position, ServerConfig } from "../shared/protocol/types";
import { Age } from "../shared/ui/Age";
import { StateTag } from "../shared/ui/Glyph";
import { useNow } from "../shared/ui/now";
import { BOOKING_LOOKS, BOOKING_WORDS, ENDED_STATES } from "../shared/ui/states";
import { durationWords, etaWords } from "../shared/ui/time";
import { TripLinks } from "../shared/ui/TripLinks";
import { Timeline } from "../shared/ui/Timeline";
import { Pin } from "./Pin";
import type { CustomerClient } from "./customerClient";

interface LiveBookingProps {
  readonly booking: Booking;
  readonly others: readonly Booking[];
  readonly client: CustomerClient;
  readonly config: ServerConfig;
  readonly onOpen: (bookingId: string) => void;
  readonly onNew: () => void;
}

const FOLLOWED: ReadonlySet<BookingState> = new Set(["assigned", "en_route", "arrived"]);
const TRIP_STATES: ReadonlySet<BookingState> = new Set(["assigned", "en_route", "arrived", "in_progress"]);
const CANCELLABLE: ReadonlySet<BookingState> = new Set(["searching", "offered", "assigned", "en_route", "arrived"]);

/** One booking as it happens: what is going on in words, when they arrive as an interval, where they are with its age. */
export function LiveBooking({ booking, others, client, config, onOpen, onNew }: LiveBookingProps) {
  const heard = useStore(client.state, (state) => state.positions.get(booking.booking_id));
  const position = FOLLOWED.has(booking.state) ? heard : undefined;
  const hasEvents = booking.events !== undefined;
  useEffect(() => {
    if (!hasEvents) void client.loadBooking(booking.booking_id).catch(() => undefined);
  }, [client, booking.booking_id, booking.version, hasEvents]);

  return (
    <section className="stage" data-testid="live-booking" data-id={booking.booking_id} data-state={booking.state}>
      <div aria-live="polite">
        <p className="eyebrow">
          <StateTag look={BOOKING_LOOKS[booking.state]} /> · {booking.service_name}
        </p>
        <h2 className="stage-title">{BOOKING_WORDS[booking.state]}</h2>
      </div>
      {position && <Arrival position={position} state={booking.state} />}
      {booking.worker && (
        <p>
          <strong>{booking.worker.name}</strong>
          {booking.worker.rating !== null && <span className="faint"> · rated {booking.worker.rating.toFixed(1)} of 5</span>}
        </p>
      )}
      {booking.crew && <Mates booking={booking} crew={booking.crew} />}
      {!ENDED_STATES.has(booking.state) && <BookingMap booking={booking} position={position} config={config} />}
      <p className="quiet">{booking.address.line}</p>
      {booking.events && <Timeline events={booking.events} tz={booking.tz} />}
      {TRIP_STATES.has(booking.state) && <TripLinks bookingId={booking.booking_id} links={client.tripLinks} />}
      <LiveActions key={booking.version} booking={booking} client={client} onNew={onNew} />
      {others.length > 0 && (
        <nav aria-label="Other bookings" className="choices">
          {others.map((other) => (
            <button key={other.booking_id} type="button" className="button" onClick={() => onOpen(other.booking_id)}>
              <StateTag look={BOOKING_LOOKS[other.state]} /> {other.service_name}
              {other.crew && ` · ${other.crew.role}`}
            </button>
          ))}
        </nav>
      )}
    </section>
  );
}

/** Who else comes; each of them is a booking of its own below. */
function Mates({ booking, crew }: { readonly booking: Booking; readonly crew: Crew }) {
  const others = crew.seats.filter((seat) => seat.booking_id !== booking.booking_id && seat.state !== "cancelled");
  const words = others.map((seat) => `${seat.role}: ${seat.worker?.name ?? "not found yet"}`);
  return (
    <p className="quiet" data-testid="mates">
      {crew.role} of a crew of {crew.seats.length} · {words.join(" · ")}
    </p>
  );
}

type HeardPosition = Position & { readonly heardAtMs: number };

function Arrival({ position, state }: { readonly position: HeardPosition; readonly state: BookingState }) {
  const now = useNow();
  const ageMs = now - position.heardAtMs;
  const isOld = ageMs > 30_000;
  return (
    <div data-testid="eta" data-eta-s={position.eta_s}>
      {state !== "arrived" && <p className="eta">{etaWords(position.eta_low_s, position.eta_high_s)}</p>}
      <p className="faint small">
        {isOld ? `Not heard of for ${durationWords(ageMs)}: this may have changed.` : <>position <Age at={position.heardAtMs} /></>}
      </p>
    </div>
  );
}

function BookingMap({ booking, position, config }: { readonly booking: Booking; readonly position: HeardPosition | undefined; readonly config: ServerConfig }) {
  const [port, setPort] = useState<MapPort | null>(null);
  const start = useMemo(() => ({ center: booking.pin, zoom: 14, styleUrl: config.map_style_url }), [booking.pin, config]);
  const hasPosition = position !== undefined;
  useEffect(() => {
    // Once, when the worker comes into the picture: show both. Later moves belong to the person.
    if (!port || !position) return;
    const middle = { lat: (booking.pin.lat + position.lat) / 2, lng: (booking.pin.lng + position.lng) / 2 };
    const span = Math.max(Math.abs(booking.pin.lat - position.lat) * 1.4, Math.abs(booking.pin.lng - position.lng), 0.004);
    port.flyTo(middle, Math.min(16, Math.log2(360 / span) - 1.7));
    // eslint-disable-next-line react-hooks/exhaustive-deps
  }, [port, hasPosition]);
  const home: Marker = {
    key: "home",
    place: booking.pin,
    content: (
      <span className="home-mark">
        <Pin />
      </span>
    ),
  };
  return (
    <FollowMap
      start={start}
      label={position ? "Map: your place and your worker" : "Map: your place"}
      worker={position ? { place: position, look: BOOKING_LOOKS[booking.state] } : null}
      others={[home]}
      onPort={setPort}
    />
  );
}

function LiveActions({ booking, client, onNew }: { readonly booking: Booking; readonly client: CustomerClient; readonly onNew: () => void }) {
  const [isAsking, setAsking] = useState(false);
  const [isBusy, setBusy] = useState(false);
  const [problem, setProblem] = useState<string | null>(null);
  const move = async (to: BookingState): Promise<void> => {
    setBusy(true);
    try {
      await client.move(booking, to);
    } catch (error) {
      setProblem(sentenceOf(error));
      setBusy(false);
    }
  };
  return (
    <>
      <p className="form-problem" role="alert">
        {problem}
      </p>
      {booking.state === "completed" && (
        <button type="button" className="button thumb primary" disabled={isBusy} onClick={() => void move("confirmed")} data-testid="confirm">
          Confirm: the work is done
        </button>
      )}
      {CANCELLABLE.has(booking.state) &&
        (isAsking ? (
          <div className="thumb-row">
            <button type="button" className="button thumb" onClick={() => setAsking(false)}>
              Keep it
            </button>
            <button type="button" className="button thumb primary" disabled={isBusy} onClick={() => void move("cancelled")} data-testid="cancel-sure">
              Cancel this booking
            </button>
          </div>
        ) : (
          <button type="button" className="button" onClick={() => setAsking(true)} data-testid="cancel">
            Cancel booking
          </button>
        ))}
      {(ENDED_STATES.has(booking.state) || booking.state === "in_progress") && (
        <button type="button" className={`button ${ENDED_STATES.has(booking.state) ? "thumb primary" : ""}`} onClick={onNew} data-testid="book-another">
          Book something else
        </button>
      )}
    </>
  );
}
