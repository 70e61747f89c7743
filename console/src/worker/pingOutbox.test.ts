import { beforeEach, describe, expect, it } from "vitest";

import type { Fix } from "../shared/protocol/frames";
import type { RecordStore } from "../shared/storage/recordStore";
import { OUTBOX_FRAMES_MAX, PingOutbox, type OutboxFrame, type SequenceStore } from "./pingOutbox";

class MemoryStore implements RecordStore<OutboxFrame> {
  readonly records = new Map<number, OutboxFrame>();
  all = (): Promise<OutboxFrame[]> => Promise.resolve([...this.records.values()].reverse());
  put = (record: OutboxFrame): Promise<void> => {
    this.records.set(record.seq, record);
    return Promise.resolve();
  };
  remove = (key: IDBValidKey): Promise<void> => {
    this.records.delete(key as number);
    return Promise.resolve();
  };
}

class MemorySequence implements SequenceStore {
  seq = 0;
  read = (): number => this.seq;
  write = (seq: number): void => void (this.seq = seq);
}

const fix = (tsMs: number): Fix => ({ tsMs, lat: 41.15, lng: -8.61 });

describe("PingOutbox", () => {
  let store: MemoryStore;
  let sequence: MemorySequence;
  let outbox: PingOutbox;
  beforeEach(() => {
    store = new MemoryStore();
    sequence = new MemorySequence();
    outbox = new PingOutbox(sequence, store);
  });

  it("gathers fixes in one frame until it is sent, then begins the next", () => {
    outbox.add(fix(1));
    outbox.add(fix(2));
    expect(outbox.takeUnsent().map(({ seq, fixes }) => [seq, fixes.length])).toEqual([[1, 48]]);
    expect(outbox.takeUnsent()).toEqual([]);
    outbox.add(fix(3));
    expect(outbox.takeUnsent().map(({ seq }) => seq)).toEqual([2]);
  });

  it("splits a backlog into frames of at most 50 fixes", () => {
    for (let n = 1; n <= 120; n += 1) outbox.add(fix(n));
    expect(outbox.takeUnsent().map(({ seq, fixes }) => [seq, fixes.length / 24])).toEqual([[1, 50], [2, 50], [3, 20]]);
  });

  it("forgets what is acknowledged, cumulatively, and sends the rest again under the same numbers", () => {
    for (const n of [1, 2, 3]) {
      outbox.add(fix(n));
      outbox.takeUnsent();
    }
    outbox.acknowledge(2);
    expect(outbox.takeAll().map(({ seq }) => seq)).toEqual([3]);
    expect([...store.records.keys()]).toEqual([3]);
    outbox.acknowledge(3);
    expect(outbox.waiting).toBe(0);
  });

  it("never lets an acknowledgement take a frame that was not sent", () => {
    outbox.add(fix(1));
    outbox.acknowledge(10);
    expect(outbox.waiting).toBe(1);
  });

  it("goes on after a reload: same frames, growing numbers", async () => {
    outbox.add(fix(1));
    outbox.takeUnsent();
    outbox.add(fix(2));
    const reloaded = new PingOutbox(sequence, store);
    await reloaded.restore();
    expect(reloaded.takeAll().map(({ seq }) => seq)).toEqual([1, 2]);
    reloaded.add(fix(3));
    expect(reloaded.takeUnsent().map(({ seq }) => seq)).toEqual([3]);
  });

  it("drops the oldest when nobody answers for long", () => {
    for (let n = 1; n <= OUTBOX_FRAMES_MAX + 5; n += 1) {
      outbox.add(fix(n));
      outbox.takeUnsent();
    }
    const seqs = outbox.takeAll().map(({ seq }) => seq);
    expect(seqs).toHaveLength(OUTBOX_FRAMES_MAX);
    expect(seqs[0]).toBe(6);
    expect(store.records.size).toBe(OUTBOX_FRAMES_MAX);
  });
});
