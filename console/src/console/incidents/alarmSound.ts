import { createStore } from "zustand/vanilla";

export interface SoundState {
  /** Browsers allow sound only after the person touched the page. */
  readonly isAllowed: boolean;
  readonly isMuted: boolean;
}

const KEY = "clenzy.muted";
const REPEAT_MS = 4_000;

/** Two soft falling tones, repeated while an alarm waits for a human: heard across a room, not a siren. */
export class AlarmSound {
  readonly state = createStore<SoundState>(() => ({ isAllowed: false, isMuted: localStorage.getItem(KEY) === "1" }));
  private context: AudioContext | null = null;
  private timer: ReturnType<typeof setInterval> | undefined;

  /**
   * Wait for the first touch or key: until then the rail says that sound is off. So it does when the browser takes the
   * sound away again, in sleep or for a call: a desk that cannot be heard must not count as armed.
   */
  arm(): () => void {
    const stop = new AbortController();
    const allow = (): void => {
      if (this.context?.state === "running") return;
      this.context ??= this.opened();
      void this.context.resume().then(() => this.tellAllowed(), () => undefined);
    };
    for (const name of ["pointerdown", "keydown"] as const) addEventListener(name, allow, { signal: stop.signal });
    // A sign-in a moment ago was such a touch.
    if (navigator.userActivation.isActive) allow();
    return () => {
      stop.abort();
      this.ring(false);
    };
  }

  setMuted(isMuted: boolean): void {
    localStorage.setItem(KEY, isMuted ? "1" : "0");
    this.state.setState({ isMuted });
  }

  ring(isRinging: boolean): void {
    clearInterval(this.timer);
    this.timer = undefined;
    if (!isRinging) return;
    this.chime();
    this.timer = setInterval(() => this.chime(), REPEAT_MS);
  }

  private opened(): AudioContext {
    const context = new AudioContext();
    context.onstatechange = () => this.tellAllowed();
    return context;
  }

  private tellAllowed(): void {
    const isAllowed = this.context?.state === "running";
    if (isAllowed !== this.state.getState().isAllowed) this.state.setState({ isAllowed });
  }

  private chime(): void {
    const { context } = this;
    if (context?.state !== "running" || this.state.getState().isMuted) return;
    [880, 659.25].forEach((hertz, index) => {
      const at = context.currentTime + index * 0.28;
      const gain = context.createGain();
      gain.gain.setValueAtTime(0.0001, at);
      gain.gain.exponentialRampToValueAtTime(0.22, at + 0.03);
      gain.gain.exponentialRampToValueAtTime(0.0001, at + 0.55);
      const tone = context.createOscillator();
      tone.type = "triangle";
      tone.frequency.value = hertz;
      tone.connect(gain).connect(context.destination);
      tone.start(at);
      tone.stop(at + 0.6);
    });
  }
}
