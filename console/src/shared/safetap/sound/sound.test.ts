import { createHash } from "node:crypto";

import { describe, expect, it } from "vitest";

import { Problem } from "../../protocol/problem";
import { SOUND_KEPT_MS, SoundQueue, type SoundPiece } from "./soundQueue";
import { SoundSender, type EvidenceBody } from "./soundSender";

const T0 = 1_000_000;

const piece = (id: string, madeMs = T0): SoundPiece => ({ id, triggerId: "t1", mediaType: "audio/webm", madeMs });
const bytes = (length: number, value = 1): Uint8Array => new Uint8Array(length).fill(value);

/** Everything that goes out, in order, each answered at once. */
function drained(queue: SoundQueue, nowMs = T0): string[] {
  const out: string[] = [];
  for (let chunk = queue.next(nowMs); chunk; chunk = queue.next(nowMs)) {
    out.push(`${chunk.piece.id}/${chunk.n}/${chunk.data.length}${chunk.isLast ? " last" : ""}`);
    queue.taken(chunk, "h");
  }
  return out;
}

describe("sound that waits", () => {
  it("goes out piece by piece in order, and the last chunk says so", () => {
    const queue = new SoundQueue(100);
    queue.open(piece("a"));
    queue.add("a", bytes(10));
    queue.open(piece("b"));
    queue.add("b", bytes(5));
    queue.close("a", bytes(7));
    expect(queue.bytes).toBe(22);
    expect(drained(queue)).toEqual(["a/0/10", "a/1/7 last", "b/0/5"]);
    queue.close("b", bytes(0));
    expect(drained(queue)).toEqual([]);
    expect(queue.bytes).toBe(0);
  });

  it("says of a chunk that waits that it is the last where nothing comes behind it", () => {
    const queue = new SoundQueue(100);
    queue.open(piece("a"));
    queue.add("a", bytes(10));
    queue.close("a", bytes(0));
    expect(drained(queue)).toEqual(["a/0/10 last"]);
  });

  it("makes room by whole pieces, the oldest first, and never by one that has begun to go out", () => {
    const queue = new SoundQueue(30);
    for (const id of ["a", "b", "c"]) {
      queue.open(piece(id));
      queue.add(id, bytes(10));
    }
    expect(queue.next(T0)?.piece.id).toBe("a");
    queue.add("c", bytes(10));
    expect(queue.bytes).toBe(30);
    expect(drained(queue)).toEqual(["a/0/10", "c/0/10", "c/1/10"]);
  });

  it("ends a piece that there is no room for, before the chunk that is too much", () => {
    const queue = new SoundQueue(15);
    queue.open(piece("a"));
    queue.add("a", bytes(10));
    queue.add("a", bytes(10));
    queue.add("a", bytes(1));
    expect(drained(queue)).toEqual(["a/0/10 last"]);
  });

  it("cuts what is too large for one chunk", () => {
    const queue = new SoundQueue();
    queue.open(piece("a"));
    queue.close("a", bytes(300_000));
    expect(drained(queue)).toEqual(["a/0/131072", "a/1/131072", "a/2/37856 last"]);
  });

  it("never holds more than its limit, whatever comes", () => {
    const queue = new SoundQueue(50);
    for (let at = 0; at < 200; at += 1) {
      if (at % 5 === 0) queue.open(piece(`p${at / 5}`));
      queue.add(`p${Math.floor(at / 5)}`, bytes((at * 7) % 23));
      if (at % 11 === 0) queue.next(T0);
      expect(queue.bytes).toBeLessThanOrEqual(50);
    }
  });

  it("forgets what nobody took for an hour", () => {
    const queue = new SoundQueue(100);
    queue.open(piece("old"));
    queue.add("old", bytes(1));
    queue.open(piece("new", T0 + 1));
    queue.add("new", bytes(1));
    expect(drained(queue, T0 + SOUND_KEPT_MS + 1)).toEqual(["new/0/1"]);
  });
});

/** A server that keeps a chain as `POST /v1/safetap/evidence` does, and fails as it is told to before it answers. */
function server(...failures: (number | "lost" | "forged")[]) {
  const heads = new Map<string, string>();
  const taken: string[] = [];
  const post = (body: EvidenceBody): Promise<{ readonly sha256: string }> => {
    const failure = failures.shift();
    if (typeof failure === "number") return Promise.reject(new Problem(failure, "refused", "no"));
    const known = `${body.evidence_id}/${body.n}`;
    const data = Buffer.from(body.data, "base64");
    const sha256 = createHash("sha256").update(Buffer.from(body.prev_sha256, "hex")).update(data).digest("hex");
    if (!taken.includes(known)) {
      expect(body.prev_sha256).toBe(heads.get(body.evidence_id) ?? "0".repeat(64));
      taken.push(known);
      heads.set(body.evidence_id, sha256);
    }
    if (failure === "lost") return Promise.reject(new Problem(0, "offline", "lost"));
    return Promise.resolve({ sha256: failure === "forged" ? "f".repeat(64) : sha256 });
  };
  return { post, taken };
}

async function sent(queue: SoundQueue, ...failures: (number | "lost" | "forged")[]) {
  const { post, taken } = server(...failures);
  const waits: number[] = [];
  let refusals = 0;
  const sleepMs = (ms: number): Promise<void> => Promise.resolve(void waits.push(ms));
  const sender = new SoundSender({ queue, post, nowMs: () => T0, sleepMs, onRefused: () => (refusals += 1) });
  await Promise.all([sender.flush(), sender.flush()]);
  return { taken, waits, refusals };
}

function twoPieces(): SoundQueue {
  const queue = new SoundQueue(1_000);
  for (const id of ["a", "b"]) {
    queue.open(piece(id));
    queue.add(id, bytes(3, 7));
    queue.close(id, bytes(2, 9));
  }
  return queue;
}

const ALL = ["a/0", "a/1", "b/0", "b/1"];

describe("a sender of sound", () => {
  it("sends every chunk once, chained", async () => {
    expect(await sent(twoPieces())).toEqual({ taken: ALL, waits: [], refusals: 0 });
  });

  it("sends a chunk again until it is answered: offline, the alarm still in a spool, a lost answer", async () => {
    expect(await sent(twoPieces(), 0, 404, 503, 401, "lost", 429)).toMatchObject({ taken: ALL, waits: [1_000, 2_000, 4_000, 8_000, 8_000, 8_000] });
  });

  it("gives up a piece whose chain is broken, and goes on with the next", async () => {
    expect((await sent(twoPieces(), 409)).taken).toEqual(["b/0", "b/1"]);
    expect((await sent(twoPieces(), "forged")).taken).toEqual(["a/0", "b/0", "b/1"]);
  });

  it("forgets everything where no sound is kept", async () => {
    const queue = twoPieces();
    expect(await sent(queue, 403)).toEqual({ taken: [], waits: [], refusals: 1 });
    expect(queue.bytes).toBe(0);
  });
});
