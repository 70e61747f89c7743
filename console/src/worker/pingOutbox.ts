import { encodeFixes, FIXES_PER_FRAME_MAX, type Fix } from "../shared/protocol/frames";
import type { RecordStore } from "../shared/storage/recordStore";

/** A frame of fixes under the phone's own number. `isSent` frames never change again: a repeat must be the same. */
export interface OutboxFrame {
  readonly seq: number;
  readonly fixes: readonly Fix[];
  readonly isSent: boolean;
}

/** Frames kept while nobody acknowledges; beyond it the oldest positions are dropped: where a worker is counts most. */
export const OUTBOX_FRAMES_MAX = 100;

export interface SequenceStore {
  /** The highest number ever used on this device, 0 at first. */
  read(): number;
  write(seq: number): void;
}

export interface Ping {
  readonly seq: number;
  readonly fixes: Uint8Array<ArrayBuffer>;
}

export function nextOf(sequence: SequenceStore): number {
  const seq = sequence.read() + 1;
  sequence.write(seq);
  return seq;
}

/**
 * Positions on their way. Fixes gather in an open frame; sending closes it; an acknowledgement covers every frame up to
 * its number. What is not acknowledged is sent again after a reconnection, under the same numbers.
 */
export class PingOutbox {
  private frames: OutboxFrame[] = [];

  constructor(
    private readonly sequence: SequenceStore,
    private readonly store: RecordStore<OutboxFrame>,
  ) {}

  /** Take up what an earlier page left unacknowledged. */
  async restore(): Promise<void> {
    const left = await this.store.all().catch(() => []);
    this.frames = [...left.sort((a, b) => a.seq - b.seq), ...this.frames];
    this.trim();
  }

  get waiting(): number {
    return this.frames.reduce((count, frame) => count + frame.fixes.length, 0);
  }

  add(fix: Fix): void {
    const last = this.frames.at(-1);
    if (last && !last.isSent && last.fixes.length < FIXES_PER_FRAME_MAX) {
      this.keep({ ...last, fixes: [...last.fixes, fix] });
    } else {
      const seq = nextOf(this.sequence);
      this.keep({ seq, fixes: [fix], isSent: false });
    }
    this.trim();
  }

  /** Frames not yet sent on this connection, closed by this very call. */
  takeUnsent(): Ping[] {
    return this.close(this.frames.filter((frame) => !frame.isSent));
  }

  /** Everything unacknowledged: what a new connection begins with. */
  takeAll(): Ping[] {
    return this.close(this.frames);
  }

  /** Every frame up to `seq` has arrived. */
  acknowledge(seq: number): void {
    const arrived = this.frames.filter((frame) => frame.isSent && frame.seq <= seq);
    this.frames = this.frames.filter((frame) => !arrived.includes(frame));
    for (const frame of arrived) void this.store.remove(frame.seq).catch(() => undefined);
  }

  private close(frames: readonly OutboxFrame[]): Ping[] {
    for (const frame of frames) if (!frame.isSent) this.keep({ ...frame, isSent: true });
    return frames.map(({ seq, fixes }) => ({ seq, fixes: encodeFixes(fixes) }));
  }

  private keep(frame: OutboxFrame): void {
    const at = this.frames.findIndex((each) => each.seq === frame.seq);
    this.frames = at < 0 ? [...this.frames, frame] : this.frames.with(at, frame);
    void this.store.put(frame).catch(() => undefined);
  }

  private trim(): void {
    const dropped = this.frames.splice(0, Math.max(0, this.frames.length - OUTBOX_FRAMES_MAX));
    for (const frame of dropped) void this.store.remove(frame.seq).catch(() => undefined);
  }
}
