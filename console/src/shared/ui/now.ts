import { useSyncExternalStore } from "react";

/** One timer for all ages on a page: they tick together and nothing drifts apart. */
const TICK_MS = 1_000;
let nowMs = Date.now();
let timer: ReturnType<typeof setInterval> | undefined;
const watchers = new Set<() => void>();

function subscribe(watcher: () => void): () => void {
  watchers.add(watcher);
  timer ??= setInterval(() => {
    nowMs = Date.now();
    for (const each of watchers) each();
  }, TICK_MS);
  return () => {
    watchers.delete(watcher);
    if (watchers.size > 0) return;
    clearInterval(timer);
    timer = undefined;
  };
}

/** The wall's time in Unix ms, renewed every second. */
export function useNow(): number {
  return useSyncExternalStore(subscribe, () => {
    // A page that slept (a phone in a pocket) must not show the age of before.
    const present = Date.now();
    if (present - nowMs > TICK_MS) nowMs = present;
    return nowMs;
  });
}
