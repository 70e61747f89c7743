import { createHash } from "node:crypto";

import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";

import { SoundRecorder } from "./soundRecorder";
import type { EvidenceBody } from "./soundSender";

const QUARTER_HOUR_MS = 900_000;

/** A browser's recorder by hand: four bytes a timeslice, two more at its end. */
class HandRecorder {
  static made: HandRecorder[] = [];
  static isTypeSupported = (): boolean => true;
  state: "inactive" | "recording" = "inactive";
  readonly mimeType = "audio/webm;codecs=opus";
  ondataavailable: ((event: { readonly data: Blob }) => void) | null = null;
  onstop: (() => void) | null = null;
  private timer: ReturnType<typeof setInterval> | undefined;

  constructor() {
    HandRecorder.made.push(this);
  }

  start(everyMs: number): void {
    this.state = "recording";
    this.timer = setInterval(() => this.ondataavailable?.({ data: new Blob(["four"]) }), everyMs);
  }

  stop(): void {
    clearInterval(this.timer);
    this.state = "inactive";
    this.ondataavailable?.({ data: new Blob(["to"]) });
    this.onstop?.();
  }
}

let permission: PermissionState;
let opened: { stop: () => void; isOn: boolean; onended: (() => void) | null }[];

function getUserMedia(): Promise<{ getTracks: () => unknown[] }> {
  const track = { isOn: true, onended: null, stop: () => void (track.isOn = false) };
  opened.push(track);
  return Promise.resolve({ getTracks: () => [track] });
}

function recorder(askAgreed: () => Promise<boolean> = () => Promise.reject(new Error("offline"))) {
  const sent: EvidenceBody[] = [];
  const sound = new SoundRecorder({
    askAgreed,
    post: (body) => {
      sent.push(body);
      const sha256 = createHash("sha256").update(Buffer.from(body.prev_sha256, "hex")).update(Buffer.from(body.data, "base64")).digest("hex");
      return Promise.resolve({ sha256 });
    },
  });
  return { sound, sent };
}

/** Hashing runs beside the clock of the test. */
async function passed(ms: number): Promise<void> {
  await vi.advanceTimersByTimeAsync(ms);
  for (let at = 0; at < 50; at += 1) await new Promise((resume) => setImmediate(resume));
}

describe("SoundRecorder", () => {
  beforeEach(() => {
    vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout", "setInterval", "clearInterval", "Date"] });
    permission = "granted";
    opened = [];
    HandRecorder.made = [];
    vi.stubGlobal("MediaRecorder", HandRecorder);
    vi.stubGlobal("navigator", { permissions: { query: () => Promise.resolve({ state: permission }) }, mediaDevices: { getUserMedia } });
  });
  afterEach(() => {
    vi.unstubAllGlobals();
    vi.useRealTimers();
  });

  it("opens no microphone without an alarm, without consent, or where the browser would ask", async () => {
    const { sound } = recorder();
    sound.agree(true);
    await passed(QUARTER_HOUR_MS);
    permission = "prompt";
    sound.begin("t1");
    await passed(0);
    permission = "granted";
    sound.agree(false);
    sound.begin("t2");
    await passed(0);
    recorder().sound.begin("t3");
    await passed(0);
    expect(opened).toEqual([]);
  });

  it("asks the server where it does not know, and heeds a consent that is taken back meanwhile", async () => {
    const asked = recorder(() => Promise.resolve(true));
    asked.sound.begin("t1");
    await passed(0);
    expect(opened).toHaveLength(1);
    asked.sound.forget();
    const late = recorder(() => new Promise((resolve) => setTimeout(() => resolve(true), 1_000)));
    late.sound.begin("t1");
    await passed(500);
    late.sound.agree(false);
    await passed(1_000);
    expect(opened.map(({ isOn }) => isOn)).toEqual([false]);
  });

  it("sends pieces of a minute, the newest alarm's, and ends a quarter of an hour after that", async () => {
    const { sound, sent } = recorder();
    sound.agree(true);
    sound.begin("t1");
    await passed(90_000);
    sound.begin("t2");
    await passed(QUARTER_HOUR_MS - 1_000);
    expect(opened.map(({ isOn }) => isOn)).toEqual([true]);
    await passed(61_000);
    expect(opened.map(({ isOn }) => isOn)).toEqual([false]);
    const ends = (): number => sent.filter(({ is_last }) => is_last).length;
    for (let at = 0; at < 10_000 && ends() < HandRecorder.made.length; at += 1) await new Promise((resume) => setImmediate(resume));
    const pieces = [...new Set(sent.map(({ evidence_id }) => evidence_id))];
    expect(pieces).toHaveLength(HandRecorder.made.length);
    expect(sent.filter(({ is_last }) => is_last).map(({ evidence_id }) => evidence_id)).toEqual(pieces);
    expect(pieces.map((id) => sent.find(({ evidence_id }) => evidence_id === id)?.trigger_id)).toEqual(["t1", "t1", ...Array<string>(pieces.length - 2).fill("t2")]);
  });

  it("ends at once when it is told to forget, and sends nothing more", async () => {
    const { sound, sent } = recorder();
    sound.agree(true);
    sound.begin("t1");
    await passed(10_000);
    const before = sent.length;
    sound.forget();
    await passed(60_000);
    expect([before > 0, sent.length, opened[0]?.isOn]).toEqual([true, before, false]);
  });

  it("ends where the microphone is taken away", async () => {
    const { sound } = recorder();
    sound.agree(true);
    sound.begin("t1");
    await passed(1_000);
    opened[0]?.onended?.();
    expect(HandRecorder.made[0]?.state).toBe("inactive");
    sound.begin("t2");
    await passed(1_000);
    expect(opened).toHaveLength(2);
  });
});
