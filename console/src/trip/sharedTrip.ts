import { createStore } from "zustand/vanilla";

import { Problem, sentenceOf } from "../shared/protocol/problem";
import { send } from "../shared/protocol/rest";
import type { BookingState } from "../shared/protocol/types";

export interface SharedPosition {
  readonly lat: number;
  readonly lng: number;
  readonly ts_ms: number;
  readonly eta_s: number;
  readonly eta_low_s: number;
  readonly eta_high_s: number;
}

export interface SharedTrip {
  readonly state: BookingState;
  readonly service_name: string;
  readonly worker_name: string;
  readonly position: SharedPosition | null;
  readonly tz: string;
  readonly expires_at: string;
}

export interface TripState {
  readonly phase: "loading" | "shown" | "over";
  readonly trip: SharedTrip | null;
  /** Why it was not read anew; what was read before stays. */
  readonly problem: string | null;
}

export const EVERY_MS = 15_000;
const NO_SUCH_LINK: ReadonlySet<number> = new Set([404, 422]);

/** The secret of a link is behind the hash of its address, which no server is told. */
export function tokenOf(hash: string): string | null {
  const token = hash.replace(/^#/, "");
  return /^[\w-]{43}$/.test(token) ? token : null;
}

/** Reads a trip again and again until it is over; what a failed try leaves is shown with its age. */
export class TripFollower {
  readonly state = createStore<TripState>(() => ({ phase: "loading", trip: null, problem: null }));
  private timer: ReturnType<typeof setTimeout> | undefined;
  private isFollowing = false;

  constructor(
    private readonly token: string | null,
    private readonly read: (token: string) => Promise<SharedTrip> = readTrip,
  ) {}

  start(): void {
    this.isFollowing = true;
    void this.look();
  }

  stop(): void {
    this.isFollowing = false;
    clearTimeout(this.timer);
  }

  private async look(): Promise<void> {
    if (this.token === null) {
      this.end();
      return;
    }
    try {
      const trip = await this.read(this.token);
      if (this.isFollowing) this.state.setState({ phase: "shown", trip, problem: null });
    } catch (error) {
      if (error instanceof Problem && NO_SUCH_LINK.has(error.status)) {
        this.end();
        return;
      }
      this.state.setState({ problem: sentenceOf(error) });
    }
    if (this.isFollowing) this.timer = setTimeout(() => void this.look(), EVERY_MS);
  }

  private end(): void {
    this.state.setState({ phase: "over", trip: null, problem: null });
  }
}

function readTrip(token: string): Promise<SharedTrip> {
  return send<SharedTrip>(`/v1/shared?${new URLSearchParams({ token }).toString()}`, "GET", null);
}
