import { decode } from "@msgpack/msgpack";
import { createStore } from "zustand/vanilla";

import { parseMapFrame, type CellCount } from "../shared/protocol/frames";
import { sentenceOf } from "../shared/protocol/problem";
import { Rest } from "../shared/protocol/rest";
import { GatewayLink } from "../shared/protocol/socket";
import type { Booking, Incident, LatLng, Page, ServerConfig, Stats, Welcome, WorkerRow, ZoneEvent, ZoneFeature } from "../shared/protocol/types";
import type { MapView } from "../shared/map/mapPort";
import { WorkerField } from "../shared/map/workerField";
import type { Session } from "../shared/session/session";
import { createBookingsStore, mergeBookings, takePage } from "./bookings/bookingsStore";
import { parseDecisions, type Decision } from "./bookings/why";
import { AlarmSound } from "./incidents/alarmSound";
import { IncidentDesk } from "./incidents/incidentDesk";
import { openAlarms } from "./incidents/incidentsStore";
import { Presence } from "./incidents/presence";
import { SafetapLive, type ArmedAnswer, type MissingPart } from "./incidents/safetapLive";
import { SilenceWatch } from "./silence/silenceWatch";
import { createZonesStore, isOutdated, newerEvent, shapesOf } from "./zones/zonesStore";
import { linkHealth, RESTART_AFTER_MS, type Health } from "./links/linkHealth";

const PAGE_ROWS = 200;
const WORKER_PAGES_MAX = 60;
const HEALTH_TICK_MS = 400;

/** How the two connections are, and since when. */
export interface Links {
  readonly gateway: Health;
  readonly gatewayHeardAtMs: number | null;
  readonly safetap: Health;
  readonly safetapHeardAtMs: number | null;
  readonly safetapRoundTripMs: number | null;
}

/** What the map shows now. The dots themselves are in `Desk.field`, which is too large to copy twice a second. */
export interface Picture {
  readonly mode: "workers" | "cells";
  readonly version: number;
  readonly cells: readonly CellCount[];
  readonly atMs: number | null;
}

export interface Focus {
  readonly place: LatLng;
  readonly zoom: number;
  readonly serial: number;
}

/**
 * Everything behind the console's screen: connections, stores and what a dispatcher does. One per signed-in person;
 * React only reads the stores and calls the verbs.
 */
export class Desk {
  readonly rest: Rest;
  readonly sound = new AlarmSound();
  /** Whether SafeTap counts on somebody here: else a ladder does not wait for this desk. */
  readonly watch = createStore<ArmedAnswer>(() => ({ isArmed: false, desksArmed: null }));
  /** Which processes that alarms depend on have fallen silent. */
  readonly peers = createStore<{ readonly missing: readonly MissingPart[] }>(() => ({ missing: [] }));
  readonly presence = new Presence();
  readonly field = new WorkerField();
  readonly bookings = createBookingsStore();
  readonly work: IncidentDesk;
  readonly silence: SilenceWatch;
  readonly zones = createZonesStore();
  readonly stats = createStore<{ readonly latest: Stats | null }>(() => ({ latest: null }));
  readonly picture = createStore<Picture>(() => ({ mode: "workers", version: 0, cells: [], atMs: null }));
  readonly people = createStore<{ readonly bySlot: ReadonlyMap<number, WorkerRow>; readonly loadedAtMs: number | null }>(() => ({
    bySlot: new Map(),
    loadedAtMs: null,
  }));
  readonly links = createStore<Links>(() => ({
    gateway: "connecting",
    gatewayHeardAtMs: null,
    safetap: "connecting",
    safetapHeardAtMs: null,
    safetapRoundTripMs: null,
  }));
  readonly focus = createStore<{ readonly wanted: Focus | null }>(() => ({ wanted: null }));
  /** The panel may take the whole width: a board without a map. */
  readonly layout = createStore(() => ({ isWide: false }));
  private readonly link: GatewayLink;
  private readonly safetap: SafetapLive;
  private readonly stops: (() => void)[] = [];
  private view: MapView | null = null;

  constructor(
    readonly config: ServerConfig,
    private readonly session: Session,
  ) {
    this.rest = new Rest(location.origin, session);
    this.work = new IncidentDesk(this.rest, session, config.safetap_url);
    this.silence = new SilenceWatch(this.rest);
    this.link = new GatewayLink(config.gateway_url, "/console", session);
    this.safetap = new SafetapLive(config.safetap_url, session, {
      onSnapshot: (incidents, isPartial) => this.work.takeSnapshot(incidents, isPartial),
      onIncident: (incident) => this.work.take([incident]),
      onReplaced: (incidentId, by) => this.work.replace(incidentId, by),
      onHeard: (roundTripMs) => this.hearSafetap(roundTripMs),
      onLost: () => this.links.setState({ safetap: "lost" }),
      onArmed: (armed) => this.watch.setState(armed),
      onWatch: (missing) => this.peers.setState({ missing }),
    }, () => {
      const { isAllowed, isMuted } = this.sound.state.getState();
      return { isSoundUnlocked: isAllowed && !isMuted, activeMsAgo: this.presence.activeMsAgo };
    });
  }

  /** Who sits here. */
  get personId(): string | null {
    const { state } = this.session;
    return state.phase === "signed_in" ? state.person.personId : null;
  }

  /** Whether who sits here may set what is the organisation's, such as when it practises. */
  get isAdmin(): boolean {
    const { state } = this.session;
    return state.phase === "signed_in" && state.person.role === "admin";
  }

  start(): void {
    const heard = (): void => this.links.setState({ gatewayHeardAtMs: Date.now() });
    this.link.socket.onAny(heard);
    const health = setInterval(() => this.judgeLinks(), HEALTH_TICK_MS);
    this.stops.push(
      () => this.link.socket.offAny(heard),
      this.link.on("connect", () => this.onConnect()),
      this.link.on("welcome", (welcome: Welcome) => this.greet(welcome)),
      this.link.on("map", (frame: ArrayBuffer) => this.takeMapFrame(frame)),
      this.link.on("booking", (booking: Booking) => this.takeBookings([booking])),
      this.link.on("incident", (incident: Incident) => this.work.take([incident])),
      this.link.on("silence", () => this.silence.wake()),
      this.link.on("zone", (event: ZoneEvent) => this.takeZoneEvent(event)),
      this.link.on("stats", (latest: Stats) => this.stats.setState({ latest })),
      this.link.watch(() => this.judgeLinks()),
      this.session.onToken((token) => this.link.tellToken(token)),
      this.work.store.subscribe(({ byId }, before) => {
        const count = openAlarms(byId).length;
        if (count !== openAlarms(before.byId).length) this.sound.ring(count > 0);
      }),
      this.sound.arm(),
      this.presence.watch(),
      this.sound.state.subscribe(() => this.safetap.sayArmed()),
      () => clearInterval(health),
      () => this.work.trail.leave(),
    );
    this.link.open();
    this.safetap.open();
    void this.work.load();
    void this.loadPeople();
  }

  stop(): void {
    for (const stop of this.stops.splice(0)) stop();
    this.link.close();
    this.safetap.close();
  }

  /** Choose what the map shows; told again after every reconnection. */
  look(view: MapView): void {
    this.view = view;
    if (!this.link.socket.connected) return;
    void this.link.command("view", { bbox: view.bbox, zoom: view.zoom }).catch(() => undefined);
  }

  flyTo(place: LatLng, zoom = 15): void {
    const serial = (this.focus.getState().wanted?.serial ?? 0) + 1;
    this.focus.setState({ wanted: { place, zoom, serial } });
  }

  async loadBookings(cursor: string | null = null): Promise<void> {
    const query = new URLSearchParams({ limit: String(PAGE_ROWS), ...(cursor ? { cursor } : {}) });
    try {
      const page = await this.rest.get<Page<Booking>>(`/v1/bookings?${query.toString()}`);
      this.bookings.setState((state) => takePage(state, page, Date.now(), cursor === null));
    } catch (error) {
      this.bookings.setState({ problem: sentenceOf(error) });
    }
  }

  /** One booking with its history. */
  async loadBooking(bookingId: string): Promise<Booking> {
    const booking = await this.rest.get<Booking>(`/v1/bookings/${bookingId}`);
    this.takeBookings([booking]);
    return booking;
  }

  async decisions(bookingId: string): Promise<Decision[]> {
    return parseDecisions(await this.rest.get<unknown>(`/v1/bookings/${bookingId}/why`));
  }

  async moveBooking(booking: Booking, to: "cancelled" | "confirmed", reason: string): Promise<void> {
    const body = { to, version: booking.version, ...(reason ? { reason } : {}) };
    this.takeBookings([await this.rest.post<Booking>(`/v1/bookings/${booking.booking_id}/transitions`, body)]);
  }

  /** Give a booking to a worker; the answer says what speaks against it. */
  async assignBooking(booking: Booking, workerId: string): Promise<readonly string[]> {
    const body = { worker_id: workerId, version: booking.version };
    const path = `/v1/bookings/${booking.booking_id}/assign`;
    const given = await this.rest.post<{ booking: Booking; warnings: readonly string[] }>(path, body);
    this.takeBookings([given.booking]);
    return given.warnings;
  }

  /** Whom the desk wants for a booking and nobody else; null: the matcher chooses. */
  async pinnedTo(bookingId: string): Promise<string | null> {
    return (await this.rest.get<{ pinned_worker_id: string | null }>(`/v1/bookings/${bookingId}/offers`)).pinned_worker_id;
  }

  /** Have one worker asked and nobody else, or keep the job with them; the answer says what speaks against it. */
  async pinBooking(bookingId: string, workerId: string): Promise<readonly string[]> {
    const pinned = await this.rest.put<{ warnings: readonly string[] }>(`/v1/bookings/${bookingId}/pin`, { worker_id: workerId });
    return pinned.warnings;
  }

  async unpinBooking(bookingId: string): Promise<void> {
    await this.rest.delete(`/v1/bookings/${bookingId}/pin`);
  }

  /** Search again for a booking that was given up. */
  async searchAgain(booking: Booking, reason: string): Promise<void> {
    const body = { version: booking.version, reason };
    this.takeBookings([await this.rest.post<Booking>(`/v1/bookings/${booking.booking_id}/search-again`, body)]);
  }

  /** Take a job from its worker: it searches again at once. */
  async handBack(booking: Booking, reason: string): Promise<void> {
    const body = { version: booking.version, reason };
    this.takeBookings([await this.rest.post<Booking>(`/v1/bookings/${booking.booking_id}/hand-back`, body)]);
  }

  /** All workers by name, page by page: the map knows them by slot only. */
  async loadPeople(): Promise<void> {
    const bySlot = new Map<number, WorkerRow>();
    let cursor: string | null = null;
    try {
      for (let page = 0; page < WORKER_PAGES_MAX; page += 1) {
        const query = new URLSearchParams({ limit: String(PAGE_ROWS), ...(cursor ? { cursor } : {}) });
        const rows: Page<WorkerRow> = await this.rest.get<Page<WorkerRow>>(`/v1/workers?${query.toString()}`);
        for (const row of rows.items) bySlot.set(row.slot, row);
        this.people.setState({ bySlot: new Map([...this.people.getState().bySlot, ...bySlot]), loadedAtMs: Date.now() });
        cursor = rows.next_cursor;
        if (cursor === null) return;
      }
    } catch {
      // Names are a comfort: slots stand in for them until the next try.
    }
  }

  private onConnect(): void {
    if (this.view) this.look(this.view);
    void this.loadZones();
  }

  /** What was missed came before a welcome that says `recovered`; after any other one only the lists tell. */
  private greet(welcome: Welcome): void {
    if (welcome.recovered && this.bookings.getState().problem === null) return;
    void this.loadBookings();
    void this.work.load();
  }

  private takeMapFrame(data: ArrayBuffer): void {
    const frame = parseMapFrame(decode(new Uint8Array(data)));
    if (!frame) return;
    if (frame.kind === "workers") this.field.apply(frame, Date.now());
    else this.field.clear();
    this.picture.setState({
      mode: frame.kind,
      version: this.field.version,
      cells: frame.kind === "cells" ? frame.cells : [],
      atMs: frame.atMs,
    });
  }

  private takeBookings(bookings: readonly Booking[]): void {
    this.bookings.setState(({ byId }) => ({ byId: mergeBookings(byId, bookings) }));
  }

  private takeZoneEvent(event: ZoneEvent): void {
    this.zones.setState(({ latest }) => ({ latest: newerEvent(latest, event) }));
    if (isOutdated(this.zones.getState().shapes, event)) void this.loadZones();
  }

  private async loadZones(): Promise<void> {
    const found = await this.rest.get<{ readonly features: readonly ZoneFeature[] }>("/v1/zones/export").catch(() => null);
    if (found) this.zones.setState({ shapes: shapesOf(found.features) });
  }

  private hearSafetap(roundTripMs: number | null): void {
    this.links.setState({
      safetap: "live",
      safetapHeardAtMs: Date.now(),
      ...(roundTripMs === null ? {} : { safetapRoundTripMs: roundTripMs }),
    });
  }

  private judgeLinks(): void {
    const now = Date.now();
    const { gatewayHeardAtMs, safetap, safetapHeardAtMs } = this.links.getState();
    this.links.setState({
      gateway: linkHealth(this.link.linkState, gatewayHeardAtMs, now),
      safetap: safetap === "lost" || safetap === "connecting" ? safetap : linkHealth("live", safetapHeardAtMs, now),
    });
    const isDead = this.link.linkState === "live" && gatewayHeardAtMs !== null && now - gatewayHeardAtMs > RESTART_AFTER_MS;
    if (!isDead) return;
    this.links.setState({ gatewayHeardAtMs: null });
    this.link.restart();
  }
}
