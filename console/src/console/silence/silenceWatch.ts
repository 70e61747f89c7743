import { createStore } from "zustand/vanilla";

import { Problem } from "../../shared/protocol/problem";
import type { Rest } from "../../shared/protocol/rest";
import type { Role } from "../../shared/protocol/types";

/** Somebody on a job, how long without a word from them, and what is usual: `GET /v1/silence`. */
export interface SilentJob {
  readonly booking_id: string;
  readonly service_name: string;
  readonly person: { readonly person_id: string; readonly name: string; readonly role: Role };
  readonly phase: string;
  readonly stage: "calm" | "asked" | "climbed";
  readonly signal: string | null;
  readonly climbs_at: string | null;
  readonly contact_mode: "none" | "decoy" | "code_word";
  readonly heard_at: string | null;
  readonly silent_s: number | null;
  readonly report_s: number | null;
  readonly silent_after_s: number | null;
  readonly phase_s: number;
  readonly usual_s: number | null;
}

export interface Silence {
  readonly items: readonly SilentJob[];
  /** Our own side or a network has gone quiet: many phones at once. */
  readonly outage: { readonly since: string; readonly sampled: number; readonly silent: number } | null;
  readonly heardAtMs: number | null;
  /** False where this installation's server keeps no such list. */
  readonly isKept: boolean;
}

const EVERY_MS = 8_000;

/** Who has not been heard of, asked for while somebody looks at the list. */
export class SilenceWatch {
  readonly store = createStore<Silence>(() => ({ items: [], outage: null, heardAtMs: null, isKept: true }));
  private watchers = 0;
  private timer: ReturnType<typeof setTimeout> | undefined;

  constructor(private readonly rest: Rest) {}

  /** Keep the list fresh until the returned function is called. */
  watch(): () => void {
    this.watchers += 1;
    if (this.watchers === 1) void this.ask();
    return () => {
      this.watchers -= 1;
      if (this.watchers === 0) clearTimeout(this.timer);
    };
  }

  /** Something changed: look now. */
  wake(): void {
    if (this.watchers === 0) return;
    clearTimeout(this.timer);
    void this.ask();
  }

  private async ask(): Promise<void> {
    try {
      const { items, outage } = await this.rest.get<Pick<Silence, "items" | "outage">>("/v1/silence");
      this.store.setState({ items, outage, heardAtMs: Date.now(), isKept: true });
    } catch (error) {
      if (error instanceof Problem && error.status === 404) {
        this.store.setState({ isKept: false });
        return;
      }
    }
    clearTimeout(this.timer);
    if (this.watchers > 0) this.timer = setTimeout(() => void this.ask(), EVERY_MS);
  }
}

/** How far beyond this person's own usual the silence is; 1 and more asks for a look. Null: nothing to compare with. */
export function strangeness(job: SilentJob): number | null {
  if (job.silent_s === null || job.silent_after_s === null || job.silent_after_s <= 0) return null;
  return job.silent_s / job.silent_after_s;
}
