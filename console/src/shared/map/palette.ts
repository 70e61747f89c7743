import { WORKER_STATUSES } from "../protocol/frames";
import type { ZoneKind } from "../protocol/types";

/** Colours of tokens.css as numbers, for what draws pixels itself. */
export interface MapPalette {
  /** Red, green, blue (0-1) of free, offered, busy, silent, tracked: the order of the wire's status byte. */
  readonly status: readonly (readonly [number, number, number])[];
  readonly edge: readonly [number, number, number];
  readonly ground: string;
  readonly line: string;
  readonly lineStrong: string;
  readonly cell: string;
  readonly zones: Readonly<Record<ZoneKind, string>>;
  readonly alarm: string;
  readonly trail: readonly [number, number, number];
}

export function readPalette(): MapPalette {
  const style = getComputedStyle(document.documentElement);
  const value = (name: string): string => style.getPropertyValue(name).trim();
  return {
    status: WORKER_STATUSES.map((status) => rgb(value(`--${status}`))),
    edge: rgb(value("--map-edge")),
    ground: value("--map-ground"),
    line: value("--map-line"),
    lineStrong: value("--map-line-strong"),
    cell: value("--busy"),
    zones: { service_area: value("--free"), no_go: value("--working"), site: value("--offered") },
    alarm: value("--alarm"),
    trail: rgb(value("--busy")),
  };
}

/** `#rrggbb` as three numbers from 0 to 1. */
export function rgb(hex: string): readonly [number, number, number] {
  const value = Number.parseInt(hex.slice(1), 16);
  return [((value >> 16) & 255) / 255, ((value >> 8) & 255) / 255, (value & 255) / 255];
}

export function css([r, g, b]: readonly [number, number, number], alpha = 1): string {
  return `rgb(${Math.round(r * 255)} ${Math.round(g * 255)} ${Math.round(b * 255)} / ${alpha})`;
}

export const ZONE_FILL_OPACITY = 0.12;

/** Size of a worker's mark in CSS pixels: dots in the city, shapes in a street. */
export function dotPx(zoom: number): number {
  return Math.max(7, Math.min(16, 8 + (zoom - 12) * 2));
}
