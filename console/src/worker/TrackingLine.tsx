import { useStore } from "zustand";

import { Glyph } from "../shared/ui/Glyph";
import { useNow } from "../shared/ui/now";
import type { Look } from "../shared/ui/states";
import { durationWords } from "../shared/ui/time";
import type { TrackingPhase } from "./tracker";
import type { WorkerClient } from "./workerClient";

const PAUSED: Look = { label: "Tracking paused", shape: "triangle", colour: "--offered" };
const RUNNING: Look = { label: "Position is shared", shape: "circle", colour: "--free" };
/** Without a position for this long the line says so. */
const QUIET_MS = 30_000;

const REASONS: Readonly<Record<Exclude<TrackingPhase, "off" | "tracking">, string>> = {
  asking: "Waiting for the phone's position…",
  denied: "Tracking paused: this page may not use the position. Allow it in the browser's settings for this site.",
  unavailable: "Tracking paused: the phone does not know where it is right now.",
  insecure: "Tracking paused: the browser gives positions only to pages opened over HTTPS.",
};

const REFUSALS: Readonly<Partial<Record<string, string>>> = {
  invalid: "they are not on this earth",
  future: "the phone's clock is ahead",
  past: "they are old",
  duplicate: "they came twice",
  zero: "they have no place",
  too_soon: "they come too often",
  near: "you have hardly moved",
  inaccurate: "they are not accurate enough",
  jump: "they jump",
  off_duty: "you are off duty",
};

/** In words whether the desk can see this phone, because a worker has a right to know in both directions. */
export function TrackingLine({ client }: { readonly client: WorkerClient }) {
  const { phase, lastFix, isAwake } = useStore(client.tracker.state);
  const waiting = useStore(client.state, (state) => state.waitingFixes);
  const skewMs = useStore(client.state, (state) => state.skewMs);
  const refusal = useStore(client.state, (state) => state.refusal);
  const now = useNow();
  if (phase === "off") return null;
  const ageMs = lastFix ? now + (Math.abs(skewMs) > 5_000 ? skewMs : 0) - lastFix.tsMs : null;
  const isRefused = refusal !== null && now - refusal.atMs < QUIET_MS;
  const isPaused = isRefused || phase !== "tracking" || ageMs === null || ageMs > QUIET_MS;
  return (
    <p className="tracking-line" role="status" data-testid="tracking" data-phase={isPaused && phase === "tracking" ? "quiet" : phase}>
      <Glyph look={isPaused ? PAUSED : RUNNING} />
      <span className="grow">
        {phase !== "tracking"
          ? REASONS[phase]
          : isRefused
            ? `The desk cannot use the positions: ${refusal.reasons.map((reason) => REFUSALS[reason] ?? reason).join(", ")}.`
            : isPaused
              ? `Tracking paused: no position for ${durationWords(ageMs ?? 0)}.`
            : `Position shared, ${durationWords(ageMs)} old${lastFix?.accuracyM === undefined ? "" : `, ±${Math.round(lastFix.accuracyM)} m`}`}
        {!isPaused && !isAwake && <span className="faint"> · keep the screen on</span>}
      </span>
      {waiting > 1 && <span className="faint">{waiting} waiting</span>}
    </p>
  );
}
