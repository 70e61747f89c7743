import { newId } from "../../protocol/ids";
import { openMicrophone, release } from "./microphone";
import { SoundQueue } from "./soundQueue";
import { SoundSender, type EvidenceBody } from "./soundSender";

/** How long after the newest alarm of this page. A PIN ends nothing: whoever forces one out of somebody must not learn from it. */
export const RECORD_MIN = 15;
/** Each piece plays by itself, so that one which never arrives takes no other with it. */
const PIECE_MS = 60_000;
/** What a battery that dies takes with it at most. */
const CHUNK_MS = 4_000;
/** Speech in Opus. */
const BITS_PER_S = 24_000;
const FORMATS = ["audio/webm;codecs=opus", "audio/mp4"] as const;

export interface RecorderPorts {
  /** Whether the person agreed, and the law of their place lets it; asked of the server. Rejects without an answer. */
  readonly askAgreed: () => Promise<boolean>;
  readonly post: (body: EvidenceBody) => Promise<{ readonly sha256: string }>;
}

/**
 * What is heard around the phone from an alarm on, for who agreed to that before. Nothing of it shows on the page, and
 * nothing is ever asked: without consent, or where the browser would ask for the microphone, there is no recording.
 */
export class SoundRecorder {
  private readonly queue = new SoundQueue();
  private readonly sender: SoundSender;
  private isAgreed: boolean | null = null;
  private isOn = false;
  private stream: MediaStream | null = null;
  private current: MediaRecorder | null = null;
  /** Counts beginnings: one that was overtaken while it waited opens nothing. */
  private turn = 0;
  private timer: ReturnType<typeof setTimeout> | undefined;
  private triggerId = "";
  private untilMs = 0;

  constructor(private readonly ports: RecorderPorts) {
    this.sender = new SoundSender({
      queue: this.queue,
      post: ports.post,
      nowMs: () => Date.now(),
      sleepMs: (ms) => new Promise((resume) => setTimeout(resume, ms)),
      onRefused: () => this.agree(false),
    });
  }

  /** Take what the person chose. Who withdraws ends a recording with that, and what has not gone out is forgotten. */
  agree(isAgreed: boolean): void {
    this.isAgreed = isAgreed;
    if (!isAgreed) this.forget();
  }

  /** An alarm has gone out. A further one prolongs; its recording belongs to the newest. */
  begin(triggerId: string): void {
    this.triggerId = triggerId;
    this.untilMs = Date.now() + RECORD_MIN * 60_000;
    if (this.isOn) return;
    this.isOn = true;
    this.turn += 1;
    void this.listen(this.turn);
  }

  /** Stop, and forget what has not gone out: the page is left, or the consent withdrawn. */
  forget(): void {
    this.finish();
    this.queue.clear();
  }

  private async listen(turn: number): Promise<void> {
    const answer = this.isAgreed ?? (await this.ports.askAgreed().catch(() => null));
    // What was chosen here meanwhile is newer.
    this.isAgreed ??= answer;
    const stream = this.isAgreed === true && "MediaRecorder" in globalThis ? await openMicrophone() : null;
    if (turn !== this.turn || !this.isOn) {
      if (stream) release(stream);
      return;
    }
    if (!stream) { this.finish(); return; }
    this.stream = stream;
    for (const track of stream.getTracks()) track.onended = () => this.finish();
    this.startPiece(stream);
  }

  private startPiece(stream: MediaStream): void {
    const before = this.current;
    try {
      this.current = this.record(stream);
    } catch {
      // A browser that cannot record says so nowhere: an alarm is no time for it.
      this.finish();
      return;
    }
    // The next one already listens: no word is lost between two pieces.
    if (before && before.state !== "inactive") before.stop();
    this.timer = setTimeout(() => {
      if (Date.now() >= this.untilMs) this.finish();
      else this.startPiece(stream);
    }, PIECE_MS);
  }

  private record(stream: MediaStream): MediaRecorder {
    const format = FORMATS.find((each) => MediaRecorder.isTypeSupported(each));
    const recorder = new MediaRecorder(stream, { ...(format ? { mimeType: format } : {}), audioBitsPerSecond: BITS_PER_S });
    const id = newId();
    const mediaType = recorder.mimeType.split(";")[0] ?? recorder.mimeType;
    this.queue.open({ id, triggerId: this.triggerId, mediaType, madeMs: Date.now() });
    // What comes after the stop is the last chunk, whole: it must say that it is the last.
    const tail: Blob[] = [];
    let arrival = Promise.resolve();
    const take = (parts: readonly Blob[], add: (data: Uint8Array) => void): void => {
      arrival = arrival.then(async () => {
        add(new Uint8Array(await new Blob([...parts]).arrayBuffer()));
        void this.sender.flush();
      });
    };
    recorder.ondataavailable = ({ data }) => {
      if (recorder.state === "inactive") tail.push(data);
      else take([data], (bytes) => this.queue.add(id, bytes));
    };
    recorder.onstop = () => take(tail, (bytes) => this.queue.close(id, bytes));
    recorder.start(CHUNK_MS);
    return recorder;
  }

  private finish(): void {
    clearTimeout(this.timer);
    this.isOn = false;
    if (this.current && this.current.state !== "inactive") this.current.stop();
    this.current = null;
    if (this.stream) release(this.stream);
    this.stream = null;
  }
}
