import { createStore } from "zustand/vanilla";

import type { IncidentTrailFix } from "../../shared/protocol/types";

export interface Trail {
  readonly incidentId: string | null;
  /** Oldest first. */
  readonly fixes: readonly IncidentTrailFix[];
  /** The map goes where the person goes, until somebody moves it by hand. */
  readonly isFollowed: boolean;
  /** When the server last answered, Unix ms: no news since then is news of that age. */
  readonly askedAtMs: number | null;
}

const EVERY_MS = 4_000;
const FIXES_MAX = 1_000;
const NOTHING: Trail = { incidentId: null, fixes: [], isFollowed: true, askedAtMs: null };

/** Asks for one incident's trail again and again while its panel is open; each question is on record. */
export class TrailFollower {
  readonly store = createStore<Trail>(() => NOTHING);
  private timer: ReturnType<typeof setTimeout> | undefined;

  constructor(private readonly fixesOf: (incidentId: string, afterMs: number) => Promise<readonly IncidentTrailFix[]>) {}

  /** Follow until the returned function is called; an incident that is over is asked for once. */
  follow(incidentId: string, isLive: boolean): () => void {
    this.store.setState((had) => (had.incidentId === incidentId ? had : { ...NOTHING, incidentId }));
    const ask = async (): Promise<void> => {
      const newest = this.store.getState().fixes.at(-1)?.ts_ms ?? 0;
      const found = await this.fixesOf(incidentId, newest).catch(() => null);
      if (!isWanted) return;
      if (found) this.store.setState(({ fixes }) => ({ fixes: found.length > 0 ? mergeFixes(fixes, found) : fixes, askedAtMs: Date.now() }));
      if (isLive) this.timer = setTimeout(() => void ask(), EVERY_MS);
    };
    let isWanted = true;
    clearTimeout(this.timer);
    void ask();
    return () => {
      isWanted = false;
      clearTimeout(this.timer);
    };
  }

  /** Take the line off the map. */
  leave(): void {
    clearTimeout(this.timer);
    this.store.setState(NOTHING);
  }

  setFollowed(isFollowed: boolean): void {
    if (this.store.getState().isFollowed !== isFollowed) this.store.setState({ isFollowed });
  }
}

/** Both in the order of time, each moment once, the newest `max`. */
export function mergeFixes(had: readonly IncidentTrailFix[], found: readonly IncidentTrailFix[], max = FIXES_MAX): readonly IncidentTrailFix[] {
  const byTime = new Map([...had, ...found].map((fix) => [fix.ts_ms, fix]));
  return [...byTime.values()].sort((a, b) => a.ts_ms - b.ts_ms).slice(-max);
}
