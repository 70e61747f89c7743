import { createStore } from "zustand/vanilla";

import type { Fix } from "../shared/protocol/frames";

export type TrackingPhase = "off" | "asking" | "tracking" | "denied" | "unavailable" | "insecure";

export interface Tracking {
  readonly phase: TrackingPhase;
  readonly lastFix: Fix | null;
  readonly isAwake: boolean;
}

/** A phone that lies still says nothing of itself: it is asked again after this long, or the desk would think it silent. */
const STILL_MS = 10_000;

/** How fast somebody may walk away from an old reading without the device noticing. */
const DRIFT_MPS = 0.5;

export interface Reading {
  readonly measuredAtMs: number;
  readonly accuracyM: number;
}

/**
 * A device that lies still may answer a new question with its last reading. That is news, the position holds now, but
 * less certain news: the radius grows with the age, until after some minutes the server finds it too wide to use.
 */
export function confirmed(reading: Reading, lastMeasuredAtMs: number, nowMs: number): Reading {
  if (reading.measuredAtMs > lastMeasuredAtMs) return reading;
  const ageS = Math.max(0, nowMs - reading.measuredAtMs) / 1000;
  return { measuredAtMs: nowMs, accuracyM: reading.accuracyM + DRIFT_MPS * ageS };
}

/**
 * The phone's position while on duty, as long as the page is in front: the web has no background tracking, so the
 * screen is kept awake where the browser allows it, and the page says when tracking pauses.
 */
export class Tracker {
  readonly state = createStore<Tracking>(() => ({ phase: "off", lastFix: null, isAwake: false }));
  private watchId: number | null = null;
  private nudge: ReturnType<typeof setInterval> | undefined;
  private wakeLock: WakeLockSentinel | null = null;
  private heardAtMs = 0;
  private measuredAtMs = 0;

  constructor(
    private readonly onFix: (fix: Fix) => void,
    /** How far the phone's clock is behind the server's, ms. */
    private readonly clockSkewMs: () => number,
  ) {}

  start(): void {
    if (this.watchId !== null) return;
    if (!isSecureContext) { this.state.setState({ phase: "insecure" }); return; }
    this.state.setState({ phase: "asking" });
    const options: PositionOptions = { enableHighAccuracy: true, maximumAge: 0 };
    const watch = (): void => {
      if (this.watchId !== null) navigator.geolocation.clearWatch(this.watchId);
      this.watchId = navigator.geolocation.watchPosition(this.take, this.fail, options);
    };
    watch();
    this.nudge = setInterval(() => {
      // A new watch asks the device anew; a question beside a running watch may wait for the next movement.
      if (Date.now() - this.heardAtMs > STILL_MS && document.visibilityState === "visible") watch();
    }, STILL_MS);
    document.addEventListener("visibilitychange", this.stayAwake);
    this.stayAwake();
  }

  stop(): void {
    if (this.watchId !== null) navigator.geolocation.clearWatch(this.watchId);
    this.watchId = null;
    clearInterval(this.nudge);
    document.removeEventListener("visibilitychange", this.stayAwake);
    void this.wakeLock?.release().catch(() => undefined);
    this.wakeLock = null;
    this.state.setState({ phase: "off", isAwake: false });
  }

  private readonly take = ({ coords, timestamp }: GeolocationPosition): void => {
    this.heardAtMs = Date.now();
    const reading = confirmed({ measuredAtMs: timestamp, accuracyM: coords.accuracy }, this.measuredAtMs, this.heardAtMs);
    this.measuredAtMs = timestamp;
    const fix: Fix = {
      tsMs: reading.measuredAtMs + this.clockSkewMs(),
      lat: coords.latitude,
      lng: coords.longitude,
      accuracyM: reading.accuracyM,
      speedMps: coords.speed ?? undefined,
      headingDeg: coords.heading === null || Number.isNaN(coords.heading) ? undefined : coords.heading,
    };
    this.state.setState({ phase: "tracking", lastFix: fix });
    this.onFix(fix);
  };

  private readonly fail = (error: GeolocationPositionError): void => {
    this.state.setState({ phase: error.code === error.PERMISSION_DENIED ? "denied" : "unavailable" });
  };

  private readonly stayAwake = (): void => {
    if (document.visibilityState !== "visible" || !("wakeLock" in navigator)) return;
    navigator.wakeLock.request("screen").then(
      (lock) => {
        this.wakeLock = lock;
        this.state.setState({ isAwake: true });
        lock.addEventListener("release", () => this.state.setState({ isAwake: false }));
      },
      () => this.state.setState({ isAwake: false }),
    );
  };
}
