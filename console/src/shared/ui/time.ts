/** Durations and instants in words. Pure: the present is an argument. */

/** `4 s`, `12 min`, `3 h 05 min`, `2 d`: how old or how far something is. Never negative. */
export function durationWords(ms: number): string {
  const seconds = Math.max(0, Math.floor(ms / 1000));
  if (seconds < 60) return `${seconds} s`;
  const minutes = Math.floor(seconds / 60);
  if (minutes < 60) return `${minutes} min`;
  const hours = Math.floor(minutes / 60);
  if (hours < 24) return `${hours} h ${String(minutes % 60).padStart(2, "0")} min`;
  return `${Math.floor(hours / 24)} d`;
}

/** `0:42`, `12:05`, `1:02:05`: a running stopwatch, for alarms where each second counts. */
export function stopwatch(ms: number): string {
  const seconds = Math.max(0, Math.floor(ms / 1000));
  const pad = (value: number): string => String(value).padStart(2, "0");
  const hours = Math.floor(seconds / 3600);
  const minutes = Math.floor(seconds / 60) % 60;
  return hours > 0 ? `${hours}:${pad(minutes)}:${pad(seconds % 60)}` : `${minutes}:${pad(seconds % 60)}`;
}

/** `4-7 min`: an arrival as the interval it is, rounded outwards so that it promises nothing. */
export function etaWords(lowS: number, highS: number): string {
  const low = Math.max(0, Math.floor(lowS / 60));
  const high = Math.max(1, Math.ceil(highS / 60));
  return low >= high ? `${high} min` : `${low}–${high} min`;
}

/** The clock's time in the zone of the job. */
export function clockTime(at: string | number, timeZone?: string): string {
  return new Intl.DateTimeFormat("en-GB", {
    hour: "2-digit",
    minute: "2-digit",
    second: "2-digit",
    ...(timeZone ? { timeZone } : {}),
  }).format(new Date(at));
}

export function money(minor: number, currency: string): string {
  const format = new Intl.NumberFormat("en-GB", { style: "currency", currency });
  const digits = format.resolvedOptions().maximumFractionDigits ?? 2;
  return format.format(minor / 10 ** digits);
}
