/** When somebody last touched this page. An open tab alone proves that nobody is there. */
export class Presence {
  private touchedAtMs = performance.now();

  /** Note every touch, key and move of the pointer until the returned function is called. */
  watch(): () => void {
    const stop = new AbortController();
    const touched = (): void => {
      this.touchedAtMs = performance.now();
    };
    for (const name of ["pointerdown", "pointermove", "keydown", "wheel"] as const) {
      addEventListener(name, touched, { signal: stop.signal, passive: true });
    }
    return () => stop.abort();
  }

  get activeMsAgo(): number {
    return Math.round(performance.now() - this.touchedAtMs);
  }
}
