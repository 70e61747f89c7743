import type { LinkState } from "../../shared/protocol/socket";

/** Without a word for this long a connection counts as lost: the server speaks every second. */
export const QUIET_MS_MAX = 2_400;
/** A connection that stayed quiet this long is dropped and made anew. */
export const RESTART_AFTER_MS = 8_000;

export type Health = "connecting" | "live" | "quiet" | "lost";

/** What to tell about a connection. Pure; times in ms of one clock. */
export function linkHealth(state: LinkState, heardAtMs: number | null, nowMs: number): Health {
  if (state !== "live") return state;
  if (heardAtMs === null) return "connecting";
  return nowMs - heardAtMs > QUIET_MS_MAX ? "quiet" : "live";
}
