import type { MapFrame, WorkerDot, WorkerStatus } from "../protocol/frames";
import { mercatorX, mercatorY } from "./mercator";

type WorkersFrame = Extract<MapFrame, { kind: "workers" }>;

const TRAIL_SEGMENTS_MAX = 48_000;
/** A longer step is a worker who came back from elsewhere, not a drive. In Mercator units, about 600 m. */
const TRAIL_STEP_MAX = 600 / 30_000_000;

/** How many segments of fresh paths are kept, oldest overwritten first: five numbers each. */
export const TRAIL_STRIDE = 5;

/**
 * The workers in view, and the short paths they have just driven. Fed by map frames; drawn, listed and asked from here.
 * Only what the server sent: nothing is guessed between two frames.
 */
export class WorkerField {
  readonly dots = new Map<number, WorkerDot>();
  /** Ring of `x0, y0, x1, y1, born_s` (Mercator units; seconds of the wall's clock). */
  readonly trails = new Float64Array(TRAIL_SEGMENTS_MAX * TRAIL_STRIDE);
  trailCount = 0;
  private trailAt = 0;
  /** Grows with every frame. */
  version = 0;
  /** When the newest frame was made, Unix ms. */
  atMs: number | null = null;
  /** Steps seen since the page was opened: proof that the picture lives. */
  movedTotal = 0;

  apply(frame: WorkersFrame, nowMs: number): void {
    const before = frame.full ? new Map(this.dots) : this.dots;
    if (frame.full) this.dots.clear();
    for (const slot of frame.gone) this.dots.delete(slot);
    for (const dot of frame.rows) {
      const old = before.get(dot.slot);
      if (old && (old.lat !== dot.lat || old.lng !== dot.lng)) this.remember(old, dot, nowMs);
      this.dots.set(dot.slot, dot);
    }
    this.atMs = frame.atMs;
    this.version += 1;
  }

  clear(): void {
    this.dots.clear();
    this.version += 1;
  }

  countByStatus(): Record<WorkerStatus, number> {
    const counts = { free: 0, offered: 0, busy: 0, silent: 0, tracked: 0 };
    for (const dot of this.dots.values()) counts[dot.status] += 1;
    return counts;
  }

  private remember(from: WorkerDot, to: WorkerDot, nowMs: number): void {
    this.movedTotal += 1;
    const step = [mercatorX(from.lng), mercatorY(from.lat), mercatorX(to.lng), mercatorY(to.lat)] as const;
    if (Math.hypot(step[2] - step[0], step[3] - step[1]) > TRAIL_STEP_MAX) return;
    this.trails.set([...step, nowMs / 1000], this.trailAt * TRAIL_STRIDE);
    this.trailAt = (this.trailAt + 1) % TRAIL_SEGMENTS_MAX;
    this.trailCount = Math.min(this.trailCount + 1, TRAIL_SEGMENTS_MAX);
  }
}
