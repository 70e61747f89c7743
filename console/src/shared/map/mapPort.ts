import type { CellCount } from "../protocol/frames";
import type { LatLng, ZoneFeature, ZoneKind } from "../protocol/types";
import type { Bbox, Point } from "./mercator";
import type { WorkerField } from "./workerField";

/** What is looked at. */
export interface MapView {
  readonly center: LatLng;
  readonly zoom: number;
  readonly bbox: Bbox;
}

/** An area to draw below everybody; longitude first, as GeoJSON has it. */
export interface ZoneShape {
  readonly id: string;
  readonly name: string;
  readonly kind: ZoneKind;
  readonly polygons: ZoneFeature["geometry"]["coordinates"];
}

/** Where one person was, oldest first, and how sure the newest place is (metres; null: not told). */
export interface TrailShape {
  readonly places: readonly LatLng[];
  readonly accuracyM: number | null;
}

/**
 * A map, whatever draws it. Two stand behind it: MapLibre on WebGL 2, and a plain 2D canvas where there is no WebGL.
 * It draws the ground, the zones, the workers and the cells; markers are HTML above it, placed by `project`.
 */
export interface MapPort {
  readonly kind: "webgl" | "canvas";
  view(): MapView;
  project(place: LatLng): Point;
  unproject(pixel: Point): LatLng;
  flyTo(place: LatLng, zoom?: number): void;
  /** Show all of an area, no closer than a street. */
  fit(area: Bbox): void;
  zoomBy(steps: number): void;
  /** Draw the field as it is now; called after every frame. */
  drawWorkers(field: WorkerField, selectedSlot: number | null): void;
  drawCells(cells: readonly CellCount[]): void;
  drawZones(zones: readonly ZoneShape[]): void;
  drawTrail(trail: TrailShape | null): void;
  repaintColours(): void;
  resize(): void;
  destroy(): void;
}

export interface MapEvents {
  /** The camera moves: markers follow. */
  readonly onMove: () => void;
  /** The camera has come to rest: moved by a person, or by the page, its size or its start. */
  readonly onSettle: (isByHand: boolean) => void;
  readonly onPick: (pixel: Point) => void;
}

export interface MapStart {
  readonly center: LatLng;
  readonly zoom: number;
  /** `builtin`, or the address of a style.json. */
  readonly styleUrl: string;
}

/** Open a map in an element; MapLibre is loaded only now, and only where it can run. */
export async function openMap(element: HTMLElement, start: MapStart, events: MapEvents): Promise<MapPort> {
  if (hasWebGl2()) {
    try {
      const { openGlMap } = await import("./glMap");
      return await openGlMap(element, start, events);
    } catch (error) {
      // A blocked graphics process or a lost chunk: the desk must still see its people.
      console.warn("map: drawing without WebGL", error);
      element.replaceChildren();
    }
  }
  const { openCanvasMap } = await import("./canvasMap");
  return openCanvasMap(element, start, events);
}

function hasWebGl2(): boolean {
  if (new URLSearchParams(location.search).get("map") === "canvas") return false;
  return document.createElement("canvas").getContext("webgl2") !== null;
}

/** H3 boundaries come from a library of their own, loaded with the first cells: about 100 kB that phones never need. */
export async function cellBoundaries(): Promise<(h3: string) => readonly LatLng[]> {
  const { cellToBoundary, isValidCell } = await import("h3-js");
  return (h3) => (isValidCell(h3) ? cellToBoundary(h3).map(([lat, lng]) => ({ lat, lng })) : []);
}
