import type { RecordStore } from "../storage/recordStore";
import type { TriggerAnswer, TriggerBody, TriggerKind } from "../protocol/types";

/** A trigger on its way; kept on the device until a server has committed it. */
export interface TriggerRecord {
  readonly id: string;
  readonly person_id: string;
  readonly body: TriggerBody;
  readonly made_ms: number;
}

/** One way into SafeTap. Rejects when it did not answer; the others are tried at the same time. */
export type Door = (body: TriggerBody) => Promise<TriggerAnswer>;

export type TriggerProgress = "idle" | "sending" | "committed";

export interface TriggerPorts {
  readonly personId: string;
  readonly store: RecordStore<TriggerRecord>;
  readonly doors: readonly Door[];
  readonly nowMs: () => number;
  readonly newId: () => string;
  readonly sleepMs: (ms: number) => Promise<void>;
  readonly onProgress: (progress: TriggerProgress) => void;
  /** Somebody calls for help here and now; never told of what an earlier page left. */
  readonly onAlarm?: (triggerId: string) => void;
}

const RETRY_MS = [500, 1_000, 2_000, 4_000, 8_000] as const;
/** An older trigger is history, not a cry for help: it is dropped. */
const KEPT_MS = 86_400_000;

/**
 * Sends silent triggers through every door at once, with one trigger id, again and again until one of them says
 * `committed`. The same id makes one incident however many doors it came through.
 */
export class TriggerSender {
  private readonly inFlight = new Set<string>();

  constructor(private readonly ports: TriggerPorts) {}

  /** Send now. Nothing waits for the device's disk: keeping and sending run side by side. */
  trigger(kind: TriggerKind, context: Omit<TriggerBody, "trigger_id" | "kind"> = {}): Promise<void> {
    const body: TriggerBody = { trigger_id: this.ports.newId(), kind, ...context };
    const record: TriggerRecord = {
      id: body.trigger_id,
      person_id: this.ports.personId,
      body,
      made_ms: this.ports.nowMs(),
    };
    const kept = this.ports.store.put(record).catch(() => undefined);
    const delivered = this.deliver(record, kept);
    if (kind !== "drill") this.ports.onAlarm?.(body.trigger_id);
    return delivered;
  }

  /** Take up what an earlier page left behind; also called when the network comes back. */
  async flush(): Promise<void> {
    const records = await this.ports.store.all().catch(() => []);
    const own = records.filter((record) => record.person_id === this.ports.personId);
    await Promise.all(own.map((record) => this.deliver(record, Promise.resolve())));
  }

  private async deliver(record: TriggerRecord, kept: Promise<void>): Promise<void> {
    if (this.inFlight.has(record.id)) return;
    this.inFlight.add(record.id);
    this.ports.onProgress("sending");
    try {
      for (let attempt = 0; ; attempt += 1) {
        const isOver = this.ports.nowMs() - record.made_ms > KEPT_MS;
        if (isOver || (await this.knock(record.body))) {
          await kept;
          await this.ports.store.remove(record.id).catch(() => undefined);
          this.ports.onProgress(isOver ? "idle" : "committed");
          return;
        }
        await this.ports.sleepMs(RETRY_MS[Math.min(attempt, RETRY_MS.length - 1)] ?? 8_000);
      }
    } finally {
      this.inFlight.delete(record.id);
    }
  }

  /** Whether any door committed it. Answers with the first that does; one slow door never holds up another. */
  private async knock(body: TriggerBody): Promise<boolean> {
    const committed = this.ports.doors.map(async (door) => {
      const { state } = await door(body);
      if (state !== "committed") throw new Error(state);
    });
    return Promise.any(committed).then(
      () => true,
      () => false,
    );
  }
}
