/**
 * Web Mercator on the unit square: x grows east, y grows south, the world is 1 wide. Pure.
 * A world of zoom z is `512 * 2^z` pixels wide, as in MapLibre.
 */
import type { LatLng } from "../protocol/types";

export interface Point {
  readonly x: number;
  readonly y: number;
}

/** West, south, east, north in degrees. */
export type Bbox = readonly [number, number, number, number];

/** Free space around an area that is fitted into view, and how close that may come: people need the streets around. */
export const FIT_PADDING_PX = 72;
export const FIT_ZOOM_MAX = 16.5;

const TILE_PX = 512;
const LAT_MAX_DEG = 85.051129;
const EARTH_CIRCUMFERENCE_M = 40_075_016.686;

export function mercatorX(lngDeg: number): number {
  return (180 + lngDeg) / 360;
}

export function mercatorY(latDeg: number): number {
  const lat = Math.max(-LAT_MAX_DEG, Math.min(LAT_MAX_DEG, latDeg));
  return (180 - (180 / Math.PI) * Math.log(Math.tan(Math.PI / 4 + (lat * Math.PI) / 360))) / 360;
}

export function fromMercator({ x, y }: Point): LatLng {
  const lat = (360 / Math.PI) * Math.atan(Math.exp(((180 - y * 360) * Math.PI) / 180)) - 90;
  return { lat, lng: x * 360 - 180 };
}

export function worldPx(zoom: number): number {
  return TILE_PX * 2 ** zoom;
}

/** Ground metres that one pixel covers at this latitude. */
export function metresPerPx(latDeg: number, zoom: number): number {
  return (EARTH_CIRCUMFERENCE_M * Math.cos((latDeg * Math.PI) / 180)) / worldPx(zoom);
}

/** The largest round length (1, 2 or 5 times a power of ten) that fits `maxPx`. */
export function scaleBar(latDeg: number, zoom: number, maxPx: number): { readonly px: number; readonly label: string } {
  const perPx = metresPerPx(latDeg, zoom);
  const limit = perPx * maxPx;
  const power = 10 ** Math.floor(Math.log10(limit));
  const metres = ([5, 2, 1].find((factor) => factor * power <= limit) ?? 1) * power;
  return { px: metres / perPx, label: metres >= 1000 ? `${metres / 1000} km` : `${metres} m` };
}

/** Coordinates as a person reads them, about one metre fine. */
export function latLngWords({ lat, lng }: LatLng): string {
  return `${Math.abs(lat).toFixed(5)}° ${lat < 0 ? "S" : "N"}, ${Math.abs(lng).toFixed(5)}° ${lng < 0 ? "W" : "E"}`;
}

/** The smallest area around all places, or null of none. */
export function bboxOf(places: readonly LatLng[]): Bbox | null {
  const first = places[0];
  if (!first) return null;
  return places.reduce<Bbox>(
    ([west, south, east, north], { lat, lng }) => [Math.min(west, lng), Math.min(south, lat), Math.max(east, lng), Math.max(north, lat)],
    [first.lng, first.lat, first.lng, first.lat],
  );
}

/** Whether a place is in view and not at its very edge, where the next step would leave it. */
export function isWellInside({ lat, lng }: LatLng, [west, south, east, north]: Bbox, margin = 0.12): boolean {
  const [dx, dy] = [(east - west) * margin, (north - south) * margin];
  return lng > west + dx && lng < east - dx && lat > south + dy && lat < north - dy;
}

/** The zoom at which an area fills a screen of so many pixels, at most `zoomMax`. */
export function zoomToFit([west, south, east, north]: Bbox, { x: widthPx, y: heightPx }: Point, zoomMax: number): number {
  const across = Math.max(mercatorX(east) - mercatorX(west), 1e-9);
  const down = Math.max(mercatorY(south) - mercatorY(north), 1e-9);
  return Math.min(zoomMax, Math.log2(Math.min(widthPx / across, heightPx / down) / TILE_PX));
}

/** Metres between two points on a sphere (haversine). */
export function distanceM(a: LatLng, b: LatLng): number {
  const rad = Math.PI / 180;
  const half = (deg: number): number => Math.sin((deg * rad) / 2) ** 2;
  const h = half(b.lat - a.lat) + Math.cos(a.lat * rad) * Math.cos(b.lat * rad) * half(b.lng - a.lng);
  return 2 * 6_371_008.8 * Math.asin(Math.min(1, Math.sqrt(h)));
}
