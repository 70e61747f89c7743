import { useNow } from "./now";
import { durationWords } from "./time";

interface AgeProps {
  /** Unix ms or RFC 3339; null when there never was one. */
  readonly at: number | string | null | undefined;
  readonly suffix?: string;
  readonly offsetMs?: number;
}

/** How long ago: every figure of the desk carries one. */
export function Age({ at, suffix = " ago", offsetMs = 0 }: AgeProps) {
  const now = useNow() + offsetMs;
  if (at === null || at === undefined) return <span className="age">no data</span>;
  const ms = typeof at === "number" ? at : Date.parse(at);
  return (
    <time className="age" dateTime={new Date(ms).toISOString()}>
      {durationWords(now - ms)}
      {suffix}
    </time>
  );
}
