import { base64, GENESIS, hex, linkHash } from "../../protocol/chain";
import { Problem } from "../../protocol/problem";
import type { SoundChunk, SoundQueue } from "./soundQueue";

/** A chunk as `POST /v1/safetap/evidence` takes it. */
export interface EvidenceBody {
  readonly trigger_id: string;
  readonly evidence_id: string;
  readonly n: number;
  readonly prev_sha256: string;
  /** Base64. */
  readonly data: string;
  readonly media_type: string;
  readonly is_last: boolean;
}

export interface SenderPorts {
  readonly queue: SoundQueue;
  /** Throws `Problem`. */
  readonly post: (body: EvidenceBody) => Promise<{ readonly sha256: string }>;
  readonly nowMs: () => number;
  readonly sleepMs: (ms: number) => Promise<void>;
  /** The server keeps no sound of this person: nothing more is to be recorded. */
  readonly onRefused: () => void;
}

const RETRY_MS = [1_000, 2_000, 4_000, 8_000] as const;

/** Sends what was recorded, one chunk after the other, through losses of the connection; says nothing to anybody. */
export class SoundSender {
  private isRunning = false;

  constructor(private readonly ports: SenderPorts) {}

  /** Send all that waits; again and again called, it is one loop. */
  async flush(): Promise<void> {
    if (this.isRunning) return;
    this.isRunning = true;
    try {
      for (let failures = 0; ; ) {
        const chunk = this.ports.queue.next(this.ports.nowMs());
        if (!chunk) return;
        if (await this.isSettled(chunk)) failures = 0;
        else await this.ports.sleepMs(RETRY_MS[Math.min(failures++, RETRY_MS.length - 1)] ?? 8_000);
      }
    } finally {
      this.isRunning = false;
    }
  }

  /** False: the same chunk is to go out again. */
  private async isSettled(chunk: SoundChunk): Promise<boolean> {
    const { queue, post, onRefused } = this.ports;
    const before = chunk.previous ?? hex(GENESIS);
    try {
      const { sha256 } = await post({
        trigger_id: chunk.piece.triggerId,
        evidence_id: chunk.piece.id,
        n: chunk.n,
        prev_sha256: before,
        data: base64(chunk.data),
        media_type: chunk.piece.mediaType,
        is_last: chunk.isLast,
      });
      // What the server has is what was heard here, or it is not evidence.
      if (sha256 === hex(await linkHash(bytesOf(before), chunk.data))) queue.taken(chunk, sha256);
      else queue.abandon(chunk.piece.id);
      return true;
    } catch (error) {
      // 404: the alarm itself may still be on its way. 401: the session is being renewed.
      if (!(error instanceof Problem) || error.isTransient || error.status === 404 || error.status === 401) return false;
      if (error.status === 403) {
        queue.clear();
        onRefused();
      } else queue.abandon(chunk.piece.id);
      return true;
    }
  }
}

function bytesOf(text: string): Uint8Array {
  return Uint8Array.from(text.match(/../g) ?? [], (pair) => Number.parseInt(pair, 16));
}
