import { createStore } from "zustand/vanilla";

import { pingFrame } from "../shared/protocol/frames";
import { Problem } from "../shared/protocol/problem";
import { Rest } from "../shared/protocol/rest";
import { GatewayLink, type LinkState } from "../shared/protocol/socket";
import type { Booking, BookingState, Cadence, Duty, FrameAck, Offer, ServerConfig, WorkerWelcome } from "../shared/protocol/types";
import type { Session } from "../shared/session/session";
import { openRecordStore } from "../shared/storage/recordStore";
import { nextOf, PingOutbox, type OutboxFrame, type Ping, type SequenceStore } from "./pingOutbox";
import { Tracker } from "./tracker";

export interface WorkerState {
  readonly link: LinkState;
  /** Null until the server has said it. */
  readonly duty: Duty | null;
  readonly offer: Offer | null;
  readonly booking: Booking | null;
  /** Server's clock minus the phone's, ms: countdowns run by the server's. */
  readonly skewMs: number;
  readonly waitingFixes: number;
  /** Why the server does not take the positions, and when it last said so. */
  readonly refusal: { readonly reasons: readonly string[]; readonly atMs: number } | null;
}

const CADENCE_MS = 5_000;
/** Smaller differences between the clocks are network delay, not a wrong clock. */
const SKEW_MS_MIN = 5_000;
const JOB_STATES: ReadonlySet<BookingState> = new Set(["assigned", "en_route", "arrived", "in_progress"]);

/** Everything behind the worker's page: socket, positions, duty, offers, the job. */
export class WorkerClient {
  readonly link: GatewayLink;
  readonly tracker: Tracker;
  /** A number for a frame that is no ping, of the same row. */
  readonly nextSeq: () => number;
  readonly state = createStore<WorkerState>(() => ({
    link: "connecting",
    duty: null,
    offer: null,
    booking: null,
    skewMs: 0,
    waitingFixes: 0,
    refusal: null,
  }));
  private readonly rest: Rest;
  private readonly outbox: PingOutbox;
  private readonly stops: (() => void)[] = [];
  private sender: ReturnType<typeof setInterval> | undefined;

  constructor(
    config: ServerConfig,
    private readonly session: Session,
    personId: string,
  ) {
    this.rest = new Rest(location.origin, session);
    this.link = new GatewayLink(config.gateway_url, "/worker", session);
    const sequence = localSequence(personId);
    this.nextSeq = () => nextOf(sequence);
    this.outbox = new PingOutbox(sequence, openRecordStore<OutboxFrame>(`clenzy-pings-${personId}`, "seq"));
    this.tracker = new Tracker(
      (fix) => {
        this.outbox.add(fix);
        this.state.setState({ waitingFixes: this.outbox.waiting });
      },
      () => {
        const { skewMs } = this.state.getState();
        return Math.abs(skewMs) > SKEW_MS_MIN ? skewMs : 0;
      },
    );
  }

  start(): void {
    const flush = (): void => this.sendUnsent();
    addEventListener("online", flush);
    document.addEventListener("visibilitychange", flush);
    this.stops.push(
      this.link.on("welcome", (welcome: WorkerWelcome) => this.greet(welcome)),
      this.link.on("ack", ({ seq, state }: FrameAck) => {
        if (state !== 0) return;
        this.outbox.acknowledge(seq);
        this.state.setState({ waitingFixes: this.outbox.waiting });
      }),
      this.link.on("fixes.refused", ({ reasons }: { reasons: Readonly<Record<string, number>> }) =>
        this.state.setState({ refusal: { reasons: Object.keys(reasons), atMs: Date.now() } }),
      ),
      this.link.on("offer", (offer: Offer) => {
        this.state.setState({ offer });
        if ("vibrate" in navigator) navigator.vibrate([80, 60, 80]);
      }),
      this.link.on("offer.gone", (gone: { offer_id: string }) => this.dropOffer(gone)),
      this.link.on("booking", (booking: Booking) => this.takeBooking(booking)),
      this.link.on("duty", ({ duty }: { duty: Duty }) => this.takeDuty(duty)),
      this.link.on("cadence", (cadence: Cadence) => {
        this.keepTo(cadence);
        this.sendUnsent();
      }),
      this.session.onToken((token) => this.link.tellToken(token)),
      this.link.watch((link) => this.state.setState({ link })),
      () => removeEventListener("online", flush),
      () => document.removeEventListener("visibilitychange", flush),
    );
    this.keepTo({ cadence_ms: CADENCE_MS });
    void this.outbox.restore();
    this.link.open();
  }

  stop(): void {
    for (const stop of this.stops.splice(0)) stop();
    clearInterval(this.sender);
    this.tracker.stop();
    this.link.close();
  }

  async setDuty(duty: Duty): Promise<void> {
    const answer = await this.link
      .command<{ duty: Duty }>("duty", { duty })
      .catch((error: unknown) => this.throughRest(error, () => this.rest.put<{ duty: Duty }>("/v1/me/duty", { duty })));
    this.takeDuty(answer.duty);
  }

  async answerOffer(offer: Offer, answer: "accept" | "decline"): Promise<void> {
    const body = { offer_id: offer.offer_id };
    try {
      const { booking } = await this.link
        .command<{ booking?: Booking }>(`offer.${answer}`, body)
        .catch((error: unknown) => this.throughRest(error, () => this.rest.post<{ booking?: Booking }>(`/v1/offers/${offer.offer_id}/${answer}`)));
      if (booking) this.takeBooking(booking);
      this.dropOffer(offer);
    } catch (error) {
      if (error instanceof Problem && error.code === "conflict") this.dropOffer(offer);
      throw error;
    }
  }

  async moveBooking(booking: Booking, to: BookingState): Promise<void> {
    const { booking: moved } = await this.link
      .command<{ booking: Booking }>("booking.transition", { booking_id: booking.booking_id, to })
      .catch((error: unknown) =>
        this.throughRest(error, async () => ({ booking: await this.rest.post<Booking>(`/v1/bookings/${booking.booking_id}/transitions`, { to }) })),
      );
    this.takeBooking(moved);
  }

  /** Without the socket the same thing can be said by REST; a refusal is a refusal on both. */
  private throughRest<T>(error: unknown, again: () => Promise<T>): Promise<T> {
    if (error instanceof Problem && error.isTransient) return again();
    throw error;
  }

  private greet(welcome: WorkerWelcome): void {
    this.state.setState({ offer: welcome.offer, booking: welcome.booking, skewMs: welcome.server_ms - Date.now() });
    this.takeDuty(welcome.duty);
    this.keepTo(welcome);
    this.send(this.outbox.takeAll());
  }

  private takeDuty(duty: Duty): void {
    this.state.setState({ duty });
    if (duty === "on") this.tracker.start();
    else this.tracker.stop();
  }

  private takeBooking(booking: Booking): void {
    const known = this.state.getState().booking;
    if (JOB_STATES.has(booking.state)) {
      if (known?.booking_id === booking.booking_id && known.version > booking.version) return;
      this.state.setState({ booking });
    } else if (known?.booking_id === booking.booking_id) this.state.setState({ booking: null });
  }

  private dropOffer({ offer_id }: { readonly offer_id: string }): void {
    if (this.state.getState().offer?.offer_id === offer_id) this.state.setState({ offer: null });
  }

  /** The device says when it has moved; how often the radio wakes for that is the server's choice. */
  private keepTo({ cadence_ms, batch_ms }: Cadence): void {
    clearInterval(this.sender);
    this.sender = setInterval(() => this.sendUnsent(), batch_ms ?? cadence_ms);
  }

  private sendUnsent(): void {
    if (!this.link.socket.connected || this.state.getState().duty === null) return;
    this.send(this.outbox.takeUnsent());
  }

  private send(pings: readonly Ping[]): void {
    for (const { seq, fixes } of pings) this.link.sendFrame(pingFrame(seq, fixes));
  }
}

/** The phone's own frame number grows over its lifetime, reloads and all. */
function localSequence(personId: string): SequenceStore {
  const key = `clenzy.seq.${personId}`;
  return {
    read: () => Number(localStorage.getItem(key) ?? 0),
    write: (seq) => localStorage.setItem(key, String(seq)),
  };
}
