import { createStore } from "zustand/vanilla";

import { Rest } from "../shared/protocol/rest";
import { GatewayLink, type LinkState } from "../shared/protocol/socket";
import type { Booking, BookingState, Position, ServerConfig, Service } from "../shared/protocol/types";
import { tripLinkVerbs, type TripLinkVerbs } from "../shared/protocol/tripLinks";
import type { Session } from "../shared/session/session";

export interface CustomerState {
  readonly link: LinkState;
  /** Whether the server has told the active bookings yet. */
  readonly isKnown: boolean;
  readonly bookings: ReadonlyMap<string, Booking>;
  readonly positions: ReadonlyMap<string, Position & { readonly heardAtMs: number }>;
  readonly services: readonly Service[] | null;
}

/** Everything behind the customer's page. */
export class CustomerClient {
  readonly link: GatewayLink;
  readonly state = createStore<CustomerState>(() => ({
    link: "connecting",
    isKnown: false,
    bookings: new Map(),
    positions: new Map(),
    services: null,
  }));
  readonly tripLinks: TripLinkVerbs;
  private readonly rest: Rest;
  private readonly stops: (() => void)[] = [];

  constructor(
    config: ServerConfig,
    private readonly session: Session,
  ) {
    this.rest = new Rest(location.origin, session);
    this.tripLinks = tripLinkVerbs(this.rest);
    this.link = new GatewayLink(config.gateway_url, "/customer", session);
  }

  start(): void {
    this.stops.push(
      this.link.on("welcome", ({ bookings }: { bookings: readonly Booking[] }) => {
        this.take(bookings);
        this.state.setState({ isKnown: true });
        // Also after a reconnection, when the first try may have failed.
        if (this.state.getState().services === null) void this.loadServices().catch(() => undefined);
      }),
      this.link.on("booking", (booking: Booking) => this.take([booking])),
      this.link.on("position", (position: Position) =>
        this.state.setState(({ positions }) => ({ positions: new Map(positions).set(position.booking_id, { ...position, heardAtMs: Date.now() }) })),
      ),
      this.link.watch((link) => this.state.setState({ link })),
      this.session.onToken((token) => this.link.tellToken(token)),
    );
    this.link.open();
  }

  stop(): void {
    for (const stop of this.stops.splice(0)) stop();
    this.link.close();
  }

  async loadServices(): Promise<void> {
    const { items } = await this.rest.get<{ items: readonly Service[] }>("/v1/services");
    this.state.setState({ services: items });
  }

  async book(request: object, idempotencyKey: string): Promise<Booking> {
    const booking = await this.rest.post<Booking>("/v1/bookings", request, { idempotencyKey });
    this.take([booking]);
    return booking;
  }

  async move(booking: Booking, to: BookingState): Promise<void> {
    // A crew is cancelled as a whole, by the booking of its first seat.
    const id = to === "cancelled" ? (booking.crew?.crew_id ?? booking.booking_id) : booking.booking_id;
    this.take([await this.rest.post<Booking>(`/v1/bookings/${id}/transitions`, { to })]);
  }

  /** With its history, which events do not carry. */
  async loadBooking(bookingId: string): Promise<void> {
    this.take([await this.rest.get<Booking>(`/v1/bookings/${bookingId}`)]);
  }

  private take(bookings: readonly Booking[]): void {
    this.state.setState((state) => {
      const merged = new Map(state.bookings);
      for (const booking of bookings) {
        const known = merged.get(booking.booking_id);
        if (known && known.version > booking.version) continue;
        const events = booking.events ?? (known?.version === booking.version ? known.events : undefined);
        merged.set(booking.booking_id, events ? { ...booking, events } : booking);
      }
      return { bookings: merged };
    });
  }
}
