import type { Bbox } from "./mercator";

/** Lines of latitude and longitude over a view: the quiet ground of the built-in base map, which needs no network. */
export interface GridLine {
  readonly isMajor: boolean;
  readonly from: readonly [lng: number, lat: number];
  readonly to: readonly [lng: number, lat: number];
}

const STEPS_DEG = [30, 10, 5, 2, 1, 0.5, 0.2, 0.1, 0.05, 0.02, 0.01, 0.005, 0.002, 0.001];
const LINES_WANTED = 14;
const MAJOR_EVERY = 5;

export function graticule([west, south, east, north]: Bbox): GridLine[] {
  const span = Math.max(east - west, north - south);
  const step = STEPS_DEG.findLast((each) => span / each <= LINES_WANTED * 2) ?? 30;
  const lines: GridLine[] = [];
  for (let n = Math.ceil(west / step); n * step <= east; n += 1) {
    lines.push({ isMajor: n % MAJOR_EVERY === 0, from: [n * step, south], to: [n * step, north] });
  }
  for (let n = Math.ceil(south / step); n * step <= north; n += 1) {
    lines.push({ isMajor: n % MAJOR_EVERY === 0, from: [west, n * step], to: [east, n * step] });
  }
  return lines;
}
