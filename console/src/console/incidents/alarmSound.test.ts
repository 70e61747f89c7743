import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";

import { AlarmSound } from "./alarmSound";

/** What a browser's sound does: it runs once a human touched the page, and may be taken away at any time. */
class FakeContext {
  static latest: FakeContext;
  state: AudioContextState = "suspended";
  onstatechange: (() => void) | null = null;

  constructor() {
    FakeContext.latest = this;
  }

  resume(): Promise<void> {
    this.become("running");
    return Promise.resolve();
  }

  become(state: AudioContextState): void {
    this.state = state;
    this.onstatechange?.();
  }
}

describe("the desk's sound", () => {
  let page: EventTarget;

  beforeEach(() => {
    page = new EventTarget();
    vi.stubGlobal("AudioContext", FakeContext);
    vi.stubGlobal("addEventListener", page.addEventListener.bind(page));
    vi.stubGlobal("navigator", { userActivation: { isActive: false } });
    vi.stubGlobal("localStorage", { getItem: () => null, setItem: () => undefined });
  });

  afterEach(() => vi.unstubAllGlobals());

  it("is allowed by a touch, not when the browser has taken it away, and again by the next touch", async () => {
    const sound = new AlarmSound();
    const stop = sound.arm();
    expect(sound.state.getState().isAllowed).toBe(false);
    page.dispatchEvent(new Event("pointerdown"));
    await Promise.resolve();
    expect(sound.state.getState().isAllowed).toBe(true);
    FakeContext.latest.become("suspended");
    expect(sound.state.getState().isAllowed).toBe(false);
    page.dispatchEvent(new Event("keydown"));
    await Promise.resolve();
    expect(sound.state.getState().isAllowed).toBe(true);
    stop();
  });
});
