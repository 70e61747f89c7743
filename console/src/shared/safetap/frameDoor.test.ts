import { describe, expect, it } from "vitest";

import { encodeFixes, pingFrame, triggerFrame } from "../protocol/frames";
import type { FrameAck, TriggerBody } from "../protocol/types";
import { frameDoor } from "./frameDoor";

const FIX = { lat: 41.15, lng: -8.61, ts_ms: 1_700_000_000_000 };
const BODY: TriggerBody = { trigger_id: "00112233-4455-4677-8899-aabbccddeeff", kind: "gesture", booking_id: "b1", fix: FIX };

/** A line that counts its listeners. */
function line(isUp = true) {
  const listeners = new Set<(ack: FrameAck) => void>();
  const frames: Uint8Array[] = [];
  return {
    frames,
    listeners,
    answer: (seq: number, state: FrameAck["state"]) => [...listeners].forEach((listener) => listener({ seq, state })),
    on: (_name: string, listener: (ack: never) => void) => {
      const heard = listener as (ack: FrameAck) => void;
      listeners.add(heard);
      return () => listeners.delete(heard);
    },
    sendFrame: (frame: Uint8Array) => {
      if (isUp) frames.push(frame);
      return isUp;
    },
  };
}

describe("an alarm on the page's line", () => {
  it("has the size of a ping of two fixes, with a place and without", () => {
    const fix = { tsMs: FIX.ts_ms, lat: FIX.lat, lng: FIX.lng };
    const ping = pingFrame(7, encodeFixes([fix, fix]));
    expect(triggerFrame(7, BODY).length).toBe(ping.length);
    const placeless: TriggerBody = { trigger_id: BODY.trigger_id, kind: "hold" };
    expect(triggerFrame(7, placeless).length).toBe(ping.length);
    expect([...triggerFrame(7, placeless).subarray(9, 33)]).toEqual(Array<number>(24).fill(0));
  });

  it("is written as the protocol says", () => {
    const frame = triggerFrame(0x0102, BODY);
    expect(Buffer.from(frame.subarray(0, 9)).toString("hex")).toBe("c00201000000000000");
    expect(frame.subarray(9, 33)).toEqual(encodeFixes([{ tsMs: FIX.ts_ms, lat: FIX.lat, lng: FIX.lng }]));
    expect(Buffer.from(frame.subarray(33)).toString("hex")).toBe("00112233445546778899aabbccddeeff" + "02" + "00".repeat(7));
  });

  it("is answered by its own number alone, and a ping's answer is none", async () => {
    const link = line();
    const door = frameDoor(link, () => 5, 60_000);
    const answered = door(BODY);
    link.answer(9, 0);
    link.answer(5, 0);
    link.answer(4, 2);
    expect(link.listeners.size).toBe(1);
    link.answer(5, 2);
    expect(await answered).toEqual({ trigger_id: BODY.trigger_id, state: "committed" });
    expect(link.listeners.size).toBe(0);
  });

  it("goes again under the same number, and on a disk it is not yet committed", async () => {
    const link = line();
    let seq = 10;
    const door = frameDoor(link, () => (seq += 1), 60_000);
    const first = door(BODY);
    link.answer(11, 1);
    expect((await first).state).toBe("spooled");
    const second = door(BODY);
    link.answer(11, 2);
    expect((await second).state).toBe("committed");
    expect(link.frames[0]).toEqual(link.frames[1]);
  });

  it("fails at once without a line, and in time without an answer", async () => {
    await expect(frameDoor(line(false), () => 1, 60_000)(BODY)).rejects.toMatchObject({ code: "offline" });
    const mute = line();
    await expect(frameDoor(mute, () => 1, 1)(BODY)).rejects.toMatchObject({ code: "offline" });
    expect(mute.listeners.size).toBe(0);
  });
});
