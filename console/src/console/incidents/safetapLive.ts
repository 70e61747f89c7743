import type { TokenSource } from "../../shared/protocol/rest";
import type { Incident } from "../../shared/protocol/types";

export interface SafetapLiveEvents {
  /** All that is live; `isPartial`: all that one door's memory knows while the database is away. */
  readonly onSnapshot: (incidents: readonly Incident[], isPartial: boolean) => void;
  readonly onIncident: (incident: Incident) => void;
  /** A row of a door's memory turned out to be part of `by`, or of nothing. */
  readonly onReplaced: (incidentId: string, by: string | null) => void;
  /** Anything heard: the connection lives. `roundTripMs` is known after a ping. */
  readonly onHeard: (roundTripMs: number | null) => void;
  readonly onLost: () => void;
  /** Which processes that alarms depend on nothing is heard of any more; none while the line is lost: nobody knows. */
  readonly onWatch: (missing: readonly MissingPart[]) => void;
  /** Whether the server believes that somebody would hear an alarm here. */
  readonly onArmed: (armed: ArmedAnswer) => void;
}

/** A process of SafeTap that has fallen silent; `since` RFC 3339. */
export interface MissingPart {
  readonly part: "door" | "escalator" | "sender";
  readonly since: string;
}

/** What SafeTap answers; `desksArmed`: how many count in all, null where that is not known. */
export interface ArmedAnswer {
  readonly isArmed: boolean;
  readonly desksArmed: number | null;
}

/** What this desk can say for itself. */
export interface Watchfulness {
  readonly isSoundUnlocked: boolean;
  readonly activeMsAgo: number;
}

const PING_EVERY_MS = 1_000;
/** Without an answer for this long the connection is dead, whatever TCP believes. */
const SILENT_MS_MAX = 4_000;
/** The server believes a desk for 25 s. */
const ARMED_EVERY_MS = 10_000;
const RETRY_MS = [300, 700, 1_500, 3_000] as const;

/** The desk's own line to SafeTap's process: it works without the gateway, the API and Redis. */
export class SafetapLive {
  private socket: WebSocket | null = null;
  private pinger: ReturnType<typeof setInterval> | undefined;
  private retry: ReturnType<typeof setTimeout> | undefined;
  private failures = 0;
  private pingedAtMs: number | null = null;
  private heardAtMs = 0;
  private isClosed = false;
  private isIntroduced = false;
  private saidAtMs = 0;

  constructor(
    private readonly safetapUrl: string,
    private readonly tokens: TokenSource,
    private readonly events: SafetapLiveEvents,
    private readonly watchfulness: () => Watchfulness,
  ) {}

  open(): void {
    this.isClosed = false;
    this.connect();
  }

  close(): void {
    this.isClosed = true;
    clearInterval(this.pinger);
    clearTimeout(this.retry);
    this.socket?.close();
    this.socket = null;
  }

  /** Say at once what has changed about who sits here. */
  sayArmed(): void {
    if (!this.isIntroduced || this.socket?.readyState !== WebSocket.OPEN) return;
    const { isSoundUnlocked, activeMsAgo } = this.watchfulness();
    this.saidAtMs = performance.now();
    this.socket.send(JSON.stringify({ type: "armed", is_sound_unlocked: isSoundUnlocked, active_ms_ago: activeMsAgo }));
  }

  private connect(): void {
    const url = new URL("/v1/safetap/live", this.safetapUrl);
    url.protocol = url.protocol === "https:" ? "wss:" : "ws:";
    const socket = new WebSocket(url);
    this.socket = socket;
    this.heardAtMs = performance.now();
    socket.onopen = () => void this.introduce(socket);
    socket.onmessage = ({ data }) => {
      if (socket === this.socket && typeof data === "string") this.hear(data);
    };
    socket.onclose = () => {
      if (socket === this.socket) this.lose();
    };
    clearInterval(this.pinger);
    this.pinger = setInterval(() => this.beat(socket), PING_EVERY_MS);
  }

  private async introduce(socket: WebSocket): Promise<void> {
    const token = await this.tokens.freshToken().catch(() => null);
    if (token === null) { socket.close(); return; }
    if (socket.readyState === WebSocket.OPEN) socket.send(JSON.stringify({ token }));
  }

  private hear(data: string): void {
    this.heardAtMs = performance.now();
    const message = parse(data);
    if (!message) return;
    const isPong = message.type === "pong" && this.pingedAtMs !== null;
    this.events.onHeard(isPong ? performance.now() - (this.pingedAtMs ?? 0) : null);
    if (message.type === "pong") this.pingedAtMs = null;
    if (message.type === "snapshot") {
      this.failures = 0;
      this.isIntroduced = true;
      this.sayArmed();
      this.events.onSnapshot(message.incidents ?? [], message.is_partial === true);
    }
    if (message.type === "armed") this.events.onArmed({ isArmed: message.is_armed === true, desksArmed: message.desks_armed ?? null });
    if (message.type === "watch") this.events.onWatch(message.missing ?? []);
    if (message.type === "replaced" && message.incident_id) this.events.onReplaced(message.incident_id, message.by ?? null);
    if (message.type === "incident" && message.incident) this.events.onIncident(message.incident);
  }

  private beat(socket: WebSocket): void {
    if (performance.now() - this.heardAtMs > SILENT_MS_MAX) {
      // `close` waits for the other side, which may be gone: count it as lost now.
      socket.close();
      if (socket === this.socket) this.lose();
      return;
    }
    if (performance.now() - this.saidAtMs >= ARMED_EVERY_MS) this.sayArmed();
    if (socket.readyState !== WebSocket.OPEN || this.pingedAtMs !== null) return;
    this.pingedAtMs = performance.now();
    socket.send('{"type":"ping"}');
  }

  private lose(): void {
    clearInterval(this.pinger);
    this.socket = null;
    this.pingedAtMs = null;
    this.isIntroduced = false;
    this.events.onArmed({ isArmed: false, desksArmed: null });
    this.events.onWatch([]);
    if (this.isClosed) return;
    this.events.onLost();
    const wait = RETRY_MS[Math.min(this.failures, RETRY_MS.length - 1)] ?? 3_000;
    this.failures += 1;
    clearTimeout(this.retry);
    this.retry = setTimeout(() => this.connect(), wait);
  }
}

interface LiveMessage {
  readonly type: string;
  readonly incidents?: readonly Incident[];
  readonly incident?: Incident;
  readonly incident_id?: string;
  readonly by?: string | null;
  readonly missing?: readonly MissingPart[];
  readonly is_partial?: boolean;
  readonly is_armed?: boolean;
  readonly desks_armed?: number;
}

function parse(data: string): LiveMessage | null {
  try {
    const value: unknown = JSON.parse(data);
    return typeof value === "object" && value !== null && "type" in value ? (value as LiveMessage) : null;
  } catch {
    return null;
  }
}
