import { createStore } from "zustand/vanilla";

import type { WatchedJob } from "./privacyClient";

export interface QuestionPorts {
  /** Hear the events of the gateway; returns how to stop. */
  readonly on: (event: "check.in" | "welcome", listener: () => void) => () => void;
  readonly watchedJobs: () => Promise<readonly WatchedJob[]>;
}

/**
 * Whether the person is to say that all is well. The event is only a hint: it may have been missed, or the question may
 * have ended by itself, so the server is asked after each connection too.
 */
export class CheckInQuestion {
  readonly store = createStore<{ readonly isAsked: boolean }>(() => ({ isAsked: false }));

  constructor(private readonly ports: QuestionPorts) {}

  /** Listen until the returned function is called. */
  start(): () => void {
    const stops = [
      this.ports.on("check.in", () => this.store.setState({ isAsked: true })),
      this.ports.on("welcome", () => void this.look()),
    ];
    void this.look();
    return () => {
      for (const stop of stops) stop();
    };
  }

  /** Take what the server says now; without an answer the question stands as it was. */
  async look(): Promise<void> {
    await this.ports.watchedJobs().then((jobs) => this.take(jobs), () => undefined);
  }

  take(jobs: readonly WatchedJob[]): void {
    this.store.setState({ isAsked: jobs.some(({ is_due }) => is_due) });
  }
}
