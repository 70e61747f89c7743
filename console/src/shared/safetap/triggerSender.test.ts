import { describe, expect, it } from "vitest";

import type { RecordStore } from "../storage/recordStore";
import type { TriggerAnswer, TriggerBody } from "../protocol/types";
import { TriggerSender, type Door, type TriggerProgress, type TriggerRecord } from "./triggerSender";

class MemoryStore implements RecordStore<TriggerRecord> {
  readonly records = new Map<string, TriggerRecord>();
  isBroken = false;
  all = (): Promise<TriggerRecord[]> => Promise.resolve([...this.records.values()]);
  put = (record: TriggerRecord): Promise<void> => {
    if (this.isBroken) return Promise.reject(new Error("full"));
    this.records.set(record.id, record);
    return Promise.resolve();
  };
  remove = (key: IDBValidKey): Promise<void> => {
    this.records.delete(key as string);
    return Promise.resolve();
  };
}

/** A door that answers from a list; the last answer repeats. */
function door(...answers: (TriggerAnswer["state"] | "down")[]): Door & { bodies: TriggerBody[] } {
  const bodies: TriggerBody[] = [];
  const knock = (body: TriggerBody): Promise<TriggerAnswer> => {
    bodies.push(body);
    const answer = answers.length > 1 ? answers.shift() : answers[0];
    if (!answer || answer === "down") return Promise.reject(new Error("down"));
    return Promise.resolve({ trigger_id: body.trigger_id, state: answer });
  };
  return Object.assign(knock, { bodies });
}

function setUp(doors: readonly Door[], personId = "p1", store = new MemoryStore()) {
  const progress: TriggerProgress[] = [];
  const clock = { nowMs: 1_000_000, waits: [] as number[] };
  let ids = 0;
  const sender = new TriggerSender({
    personId,
    store,
    doors,
    nowMs: () => clock.nowMs,
    newId: () => `trigger-${(ids += 1)}`,
    sleepMs: (ms) => {
      clock.waits.push(ms);
      clock.nowMs += ms;
      return Promise.resolve();
    },
    onProgress: (each) => progress.push(each),
  });
  return { sender, store, progress, clock };
}

describe("TriggerSender", () => {
  it("knocks at every door with one id and forgets the trigger once it is committed", async () => {
    const [socket, port] = [door("committed"), door("committed")];
    const { sender, store, progress } = setUp([socket, port]);
    await sender.trigger("hold", { booking_id: "b1" });
    expect(socket.bodies).toEqual([{ trigger_id: "trigger-1", kind: "hold", booking_id: "b1" }]);
    expect(port.bodies).toEqual(socket.bodies);
    expect(store.records.size).toBe(0);
    expect(progress).toEqual(["sending", "committed"]);
  });

  it("is content with one door, though the other is dead", async () => {
    const { sender, progress } = setUp([door("down"), door("committed")]);
    await sender.trigger("hold");
    expect(progress.at(-1)).toBe("committed");
  });

  it("does not take spooled for committed, and slows down between attempts", async () => {
    const port = door("down", "spooled", "spooled", "committed");
    const { sender, clock } = setUp([port]);
    await sender.trigger("gesture");
    expect(port.bodies).toHaveLength(4);
    expect(new Set(port.bodies.map((body) => body.trigger_id)).size).toBe(1);
    expect(clock.waits).toEqual([500, 1_000, 2_000]);
  });

  it("sends even when the device cannot keep it", async () => {
    const store = new MemoryStore();
    store.isBroken = true;
    const port = door("committed");
    await setUp([port], "p1", store).sender.trigger("hold");
    expect(port.bodies).toHaveLength(1);
  });

  it("takes up what an earlier page left, of this person only", async () => {
    const store = new MemoryStore();
    const left = (id: string, person_id: string, made_ms: number): Promise<void> =>
      store.put({ id, person_id, made_ms, body: { trigger_id: id, kind: "hold" } });
    await left("mine", "p1", 999_000);
    await left("other", "p2", 999_000);
    await left("ancient", "p1", 1_000_000 - 90_000_000);
    const port = door("committed");
    await setUp([port], "p1", store).sender.flush();
    expect(port.bodies.map((body) => body.trigger_id)).toEqual(["mine"]);
    expect([...store.records.keys()]).toEqual(["other"]);
  });
});
