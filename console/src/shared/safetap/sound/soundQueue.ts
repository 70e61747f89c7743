import { slices } from "../../protocol/chain";

/** Sound on its way, in memory alone: whoever looks into the browser's storage finds nothing. Pure. */

/** A recording that plays by itself: one piece of evidence. */
export interface SoundPiece {
  readonly id: string;
  readonly triggerId: string;
  readonly mediaType: string;
  readonly madeMs: number;
}

/** The next part of a piece to go out. `previous`: what the part before it was answered with, null for the first. */
export interface SoundChunk {
  readonly piece: SoundPiece;
  readonly n: number;
  readonly data: Uint8Array;
  readonly isLast: boolean;
  readonly previous: string | null;
}

interface Waiting {
  readonly piece: SoundPiece;
  readonly chunks: Uint8Array[];
  n: number;
  previous: string | null;
  isBegun: boolean;
  /** Nothing more is added; its newest chunk is its last. */
  isOver: boolean;
}

/** As the server has it: a chunk of evidence holds 128 KiB. A page that slept may bring more at once. */
const CHUNK_BYTES_MAX = 131_072;
/** A quarter of an hour at our rate is 2.7 MB: without a network nothing of an alarm is lost. What is beyond: `add`. */
export const SOUND_BYTES_MAX = 4_194_304;
/** A chunk that nobody took for so long is dropped with its piece: the alarm is history. */
export const SOUND_KEPT_MS = 3_600_000;

export class SoundQueue {
  private waiting: Waiting[] = [];

  constructor(private readonly bytesMax: number = SOUND_BYTES_MAX) {}

  get bytes(): number {
    return this.waiting.reduce((sum, { chunks }) => chunks.reduce((all, { length }) => all + length, sum), 0);
  }

  open(piece: SoundPiece): void {
    this.waiting.push({ piece, chunks: [], n: 0, previous: null, isBegun: false, isOver: false });
  }

  /**
   * Add what was heard. Where there is no room the oldest whole piece that has not begun to go out is dropped: what
   * happens now counts most, and half a piece plays nowhere. Where that is not enough the piece ends before this chunk.
   */
  add(pieceId: string, data: Uint8Array): void {
    const own = this.waiting.find(({ piece }) => piece.id === pieceId);
    if (!own || own.isOver || data.length === 0) return;
    while (this.bytes + data.length > this.bytesMax) {
      const oldest = this.waiting.find((each) => each !== own && !each.isBegun && each.chunks.length > 0);
      if (!oldest) {
        own.isOver = true;
        return;
      }
      this.abandon(oldest.piece.id);
    }
    own.chunks.push(...slices(data, CHUNK_BYTES_MAX));
  }

  /** Add the last of a piece, which may be nothing. */
  close(pieceId: string, data: Uint8Array): void {
    this.add(pieceId, data);
    const own = this.waiting.find(({ piece }) => piece.id === pieceId);
    if (!own) return;
    own.isOver = true;
    if (own.chunks.length === 0) this.abandon(pieceId);
  }

  /** What goes out next: the oldest there is, or null. */
  next(nowMs: number): SoundChunk | null {
    this.waiting = this.waiting.filter(({ piece }) => nowMs - piece.madeMs <= SOUND_KEPT_MS);
    const first = this.waiting.find(({ chunks }) => chunks.length > 0);
    const data = first?.chunks[0];
    if (!first || !data) return null;
    first.isBegun = true;
    const { piece, n, previous } = first;
    return { piece, n, data, isLast: first.isOver && first.chunks.length === 1, previous };
  }

  /** It arrived; `sha256` is the chain's head from now on. */
  taken({ piece, isLast }: SoundChunk, sha256: string): void {
    const own = this.waiting.find((each) => each.piece.id === piece.id);
    if (!own) return;
    own.chunks.shift();
    own.n += 1;
    own.previous = sha256;
    if (isLast || (own.isOver && own.chunks.length === 0)) this.abandon(piece.id);
  }

  /** Forget a piece, and whatever is still added to it. */
  abandon(pieceId: string): void {
    this.waiting = this.waiting.filter(({ piece }) => piece.id !== pieceId);
  }

  clear(): void {
    this.waiting = [];
  }
}
