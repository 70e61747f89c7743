import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";

import type { Incident } from "../../shared/protocol/types";
import { SafetapLive, type ArmedAnswer } from "./safetapLive";

/** The browser's socket as far as the line uses it, worked by the test's hand. */
class HandSocket {
  static readonly OPEN = 1;
  static opened: HandSocket[] = [];
  readyState = 0;
  readonly sent: unknown[] = [];
  onopen: (() => void) | null = null;
  onmessage: ((event: { readonly data: string }) => void) | null = null;
  onclose: (() => void) | null = null;

  constructor(readonly url: URL) {
    HandSocket.opened.push(this);
  }

  send(text: string): void {
    this.sent.push(JSON.parse(text));
  }

  close(): void {
    this.readyState = 3;
  }

  say(message: unknown): void {
    this.onmessage?.({ data: JSON.stringify(message) });
  }
}

interface Heard {
  readonly snapshots: [number, boolean][];
  readonly incidents: string[];
  readonly replaced: [string, string | null][];
  readonly armed: ArmedAnswer[];
  readonly missing: string[];
  lost: number;
}

async function open(): Promise<{ readonly socket: HandSocket; readonly heard: Heard; readonly line: SafetapLive }> {
  const heard: Heard = { snapshots: [], incidents: [], replaced: [], armed: [], missing: [], lost: 0 };
  const line = new SafetapLive(
    "http://127.0.0.1:8082",
    { freshToken: () => Promise.resolve("t"), replaceToken: () => Promise.resolve(null) },
    {
      onSnapshot: (incidents, isPartial) => heard.snapshots.push([incidents.length, isPartial]),
      onIncident: (incident: Incident) => heard.incidents.push(incident.incident_id),
      onReplaced: (id, by) => heard.replaced.push([id, by]),
      onHeard: () => undefined,
      onLost: () => (heard.lost += 1),
      onArmed: (armed) => heard.armed.push(armed),
      onWatch: (missing) => heard.missing.push(missing.map(({ part }) => part).join()),
    },
    () => ({ isSoundUnlocked: true, activeMsAgo: 5 }),
  );
  line.open();
  const socket = last();
  socket.readyState = HandSocket.OPEN;
  socket.onopen?.();
  await vi.advanceTimersByTimeAsync(0);
  return { socket, heard, line };
}

function last(): HandSocket {
  const socket = HandSocket.opened.at(-1);
  if (!socket) throw new Error("no socket was opened");
  return socket;
}

describe("SafetapLive", () => {
  beforeEach(() => {
    vi.useFakeTimers();
    vi.stubGlobal("WebSocket", HandSocket);
    HandSocket.opened = [];
  });
  afterEach(() => {
    vi.unstubAllGlobals();
    vi.useRealTimers();
  });

  it("hears every kind of message, and survives what it does not know", async () => {
    const { socket, heard, line } = await open();
    expect(socket.url.protocol).toBe("ws:");
    expect(socket.sent).toEqual([{ token: "t" }]);
    socket.say({ type: "snapshot", incidents: [{ incident_id: "m" }], is_partial: true });
    socket.say({ type: "snapshot", incidents: [] });
    socket.say({ type: "incident", incident: { incident_id: "i" } });
    socket.say({ type: "replaced", incident_id: "m", by: "i" });
    socket.say({ type: "replaced", incident_id: "n", by: null });
    socket.say({ type: "armed", is_armed: true, desks_armed: 2, report_ms: 10_000 });
    socket.say({ type: "watch", missing: [{ part: "escalator", since: "2026-01-01T00:00:00Z" }] });
    socket.say({ type: "of a later version" });
    socket.onmessage?.({ data: "no JSON" });
    expect(heard.snapshots).toEqual([[1, true], [0, false]]);
    expect(heard.incidents).toEqual(["i"]);
    expect(heard.replaced).toEqual([["m", "i"], ["n", null]]);
    expect(heard.missing).toEqual(["escalator"]);
    expect(heard.armed).toEqual([{ isArmed: true, desksArmed: 2 }]);
    expect(socket.sent.at(-1)).toEqual({ type: "armed", is_sound_unlocked: true, active_ms_ago: 5 });
    line.close();
  });

  it("counts a line without answers as lost, is armed no more, knows of nobody missing, and makes a new one", async () => {
    const { socket, heard, line } = await open();
    socket.say({ type: "watch", missing: [{ part: "sender", since: "2026-01-01T00:00:00Z" }] });
    await vi.advanceTimersByTimeAsync(6_000);
    expect(heard.missing).toEqual(["sender", ""]);
    expect(heard.lost).toBeGreaterThanOrEqual(1);
    expect(heard.armed.at(-1)).toEqual({ isArmed: false, desksArmed: null });
    expect(HandSocket.opened.length).toBeGreaterThanOrEqual(2);
    line.close();
    const count = HandSocket.opened.length;
    await vi.advanceTimersByTimeAsync(10_000);
    expect(HandSocket.opened).toHaveLength(count);
  });
});
