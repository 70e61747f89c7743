import maplibregl, { type GeoJSONSource, type Map as GlMap, type StyleSpecification } from "maplibre-gl";
import "maplibre-gl/dist/maplibre-gl.css";

import type { CellCount } from "../protocol/frames";
import type { LatLng } from "../protocol/types";
import { graticule } from "./graticule";
import { cellBoundaries, type MapEvents, type MapPort, type MapStart, type MapView, type TrailShape, type ZoneShape } from "./mapPort";
import { FIT_PADDING_PX, FIT_ZOOM_MAX, metresPerPx, type Bbox, type Point } from "./mercator";
import { readPalette, ZONE_FILL_OPACITY, type MapPalette } from "./palette";
import { PointLayer } from "./pointLayer";
import type { WorkerField } from "./workerField";

const STYLE_TIMEOUT_MS = 4_000;
const EMPTY: GeoJSON.FeatureCollection = { type: "FeatureCollection", features: [] };

/** MapLibre behind the port. */
export async function openGlMap(element: HTMLElement, start: MapStart, events: MapEvents): Promise<MapPort> {
  const palette = readPalette();
  const style = await styleOf(start.styleUrl, palette);
  const map = new maplibregl.Map({
    container: element,
    style: style.specification,
    center: [start.center.lng, start.center.lat],
    zoom: start.zoom,
    minZoom: 3,
    maxZoom: 19,
    attributionControl: style.isBuiltin ? false : { compact: true },
    dragRotate: false,
    pitchWithRotate: false,
    fadeDuration: 0,
  });
  map.touchZoomRotate.disableRotation();
  map.keyboard.disableRotation();
  // Tiles of a remote style may fail one by one later: that rejects nothing any more, the map goes on with what it has.
  await new Promise<void>((resume, fail) => {
    map.on("load", () => resume());
    map.on("error", ({ error }) => fail(new Error(String(error))));
  });
  return new MapLibrePort(map, palette, style.isBuiltin, events);
}

class MapLibrePort implements MapPort {
  readonly kind = "webgl" as const;
  private readonly points: PointLayer;
  private boundaries: ((h3: string) => readonly LatLng[]) | null = null;
  private wantedCells: readonly CellCount[] = [];

  constructor(
    private readonly map: GlMap,
    palette: MapPalette,
    private readonly isBuiltin: boolean,
    events: MapEvents,
  ) {
    this.points = new PointLayer(palette);
    map.addSource("zones", { type: "geojson", data: EMPTY });
    map.addLayer({ id: "zones", type: "fill", source: "zones", paint: { "fill-color": zoneColour(palette), "fill-opacity": ZONE_FILL_OPACITY } });
    map.addLayer({ id: "zone-edges", type: "line", source: "zones", paint: { "line-color": zoneColour(palette), "line-width": 1.5 } });
    map.addSource("cells", { type: "geojson", data: EMPTY });
    map.addLayer({ id: "cells", type: "fill", source: "cells", paint: { "fill-color": palette.cell, "fill-opacity": ["get", "strength"] } });
    map.addLayer({ id: "cell-edges", type: "line", source: "cells", paint: { "line-color": palette.cell, "line-opacity": 0.35 } });
    map.addLayer(this.points);
    map.addSource("trail", { type: "geojson", data: EMPTY });
    map.addLayer({ id: "trail-accuracy", type: "circle", source: "trail", filter: ["==", ["geometry-type"], "Point"], paint: { "circle-color": palette.alarm, "circle-opacity": ZONE_FILL_OPACITY, "circle-stroke-color": palette.alarm, "circle-stroke-width": 1, "circle-radius": 0 } });
    map.addLayer({ id: "trail", type: "line", source: "trail", filter: ["==", ["geometry-type"], "LineString"], layout: { "line-join": "round", "line-cap": "round" }, paint: { "line-color": palette.alarm, "line-width": 3 } });
    map.on("move", events.onMove);
    map.on("moveend", ({ originalEvent }) => {
      this.drawGrid();
      events.onSettle(originalEvent !== undefined);
    });
    map.on("click", ({ point }) => events.onPick(point));
    this.drawGrid();
  }

  view(): MapView {
    const center = this.map.getCenter();
    const bounds = this.map.getBounds();
    return {
      center: { lat: center.lat, lng: center.lng },
      zoom: this.map.getZoom(),
      bbox: [bounds.getWest(), bounds.getSouth(), bounds.getEast(), bounds.getNorth()],
    };
  }

  project({ lat, lng }: LatLng): Point {
    return this.map.project([lng, lat]);
  }

  unproject({ x, y }: Point): LatLng {
    const { lat, lng } = this.map.unproject([x, y]);
    return { lat, lng };
  }

  flyTo({ lat, lng }: LatLng, zoom = this.map.getZoom()): void {
    this.map.flyTo({ center: [lng, lat], zoom, duration: 700 });
  }

  fit([west, south, east, north]: Bbox): void {
    this.map.fitBounds([west, south, east, north], { padding: FIT_PADDING_PX, maxZoom: FIT_ZOOM_MAX, duration: 500 });
  }

  zoomBy(steps: number): void {
    this.map.zoomTo(this.map.getZoom() + steps, { duration: 200 });
  }

  drawWorkers(field: WorkerField, selectedSlot: number | null): void {
    this.points.draw(field, selectedSlot);
  }

  drawCells(cells: readonly CellCount[]): void {
    this.wantedCells = cells;
    if (this.boundaries) { this.fillCells(this.boundaries); return; }
    if (cells.length === 0) return;
    void cellBoundaries().then((boundaries) => {
      this.boundaries = boundaries;
      this.fillCells(boundaries);
    });
  }

  drawZones(zones: readonly ZoneShape[]): void {
    const features = zones.map(
      ({ kind, polygons }): GeoJSON.Feature => ({
        type: "Feature",
        properties: { kind },
        geometry: { type: "MultiPolygon", coordinates: polygons.map((polygon) => polygon.map((ring) => ring.map((position) => [...position]))) },
      }),
    );
    this.source("zones")?.setData({ type: "FeatureCollection", features });
  }

  drawTrail(trail: TrailShape | null): void {
    const coordinates = (trail?.places ?? []).map(({ lat, lng }) => [lng, lat]);
    const [newest, place] = [coordinates.at(-1), trail?.places.at(-1)];
    const features: GeoJSON.Feature[] = [];
    if (coordinates.length > 1) features.push({ type: "Feature", properties: {}, geometry: { type: "LineString", coordinates } });
    const accuracyM = trail?.accuracyM ?? null;
    if (newest && place && accuracyM !== null) {
      features.push({ type: "Feature", properties: {}, geometry: { type: "Point", coordinates: newest } });
      // A circle's radius is in pixels: doubling with every zoom keeps it on its metres.
      const px = (zoom: number): number => accuracyM / metresPerPx(place.lat, zoom);
      this.map.setPaintProperty("trail-accuracy", "circle-radius", ["interpolate", ["exponential", 2], ["zoom"], 4, px(4), 20, px(20)]);
    }
    this.source("trail")?.setData({ type: "FeatureCollection", features });
  }

  repaintColours(): void {
    const palette = readPalette();
    this.map.setPaintProperty("trail", "line-color", palette.alarm);
    this.map.setPaintProperty("trail-accuracy", "circle-color", palette.alarm);
    this.map.setPaintProperty("trail-accuracy", "circle-stroke-color", palette.alarm);
    this.map.setPaintProperty("zones", "fill-color", zoneColour(palette));
    this.map.setPaintProperty("zone-edges", "line-color", zoneColour(palette));
    this.points.recolour(palette);
    this.map.setPaintProperty("cells", "fill-color", palette.cell);
    this.map.setPaintProperty("cell-edges", "line-color", palette.cell);
    if (!this.isBuiltin) return;
    this.map.setPaintProperty("ground", "background-color", palette.ground);
    this.map.setPaintProperty("grid", "line-color", gridColour(palette));
  }

  resize(): void {
    this.map.resize();
  }

  destroy(): void {
    this.map.remove();
  }

  private fillCells(boundaries: (h3: string) => readonly LatLng[]): void {
    const most = Math.max(1, ...this.wantedCells.map((cell) => cell.workers));
    const features = this.wantedCells.map((cell): GeoJSON.Feature => {
      const ring = boundaries(cell.h3).map(({ lat, lng }) => [lng, lat]);
      return {
        type: "Feature",
        properties: { strength: 0.1 + 0.6 * Math.sqrt(cell.workers / most) },
        geometry: { type: "Polygon", coordinates: [[...ring, ...ring.slice(0, 1)]] },
      };
    });
    this.source("cells")?.setData({ type: "FeatureCollection", features });
  }

  private drawGrid(): void {
    const features = graticule(this.view().bbox).map(
      ({ isMajor, from, to }): GeoJSON.Feature => ({
        type: "Feature",
        properties: { major: isMajor },
        geometry: { type: "LineString", coordinates: [[...from], [...to]] },
      }),
    );
    this.source("grid")?.setData({ type: "FeatureCollection", features });
  }

  private source(id: string): GeoJSONSource | undefined {
    return this.map.getSource(id);
  }
}

interface Style {
  readonly specification: StyleSpecification;
  readonly isBuiltin: boolean;
}

/** The installation's own style, or the built-in one when that does not answer in time. */
async function styleOf(url: string, palette: MapPalette): Promise<Style> {
  if (url !== "builtin" && !url.startsWith("pmtiles:")) {
    try {
      const response = await fetch(url, { signal: AbortSignal.timeout(STYLE_TIMEOUT_MS) });
      if (response.ok) return { specification: (await response.json()) as StyleSpecification, isBuiltin: false };
    } catch {
      // Falls through: a map without streets is better than no map.
    }
  }
  return { specification: builtinStyle(palette), isBuiltin: true };
}

function builtinStyle(palette: MapPalette): StyleSpecification {
  return {
    version: 8,
    sources: { grid: { type: "geojson", data: EMPTY } },
    layers: [
      { id: "ground", type: "background", paint: { "background-color": palette.ground } },
      { id: "grid", type: "line", source: "grid", paint: { "line-color": gridColour(palette), "line-width": 1 } },
    ],
  };
}

function gridColour(palette: MapPalette): ["case", ["get", string], string, string] {
  return ["case", ["get", "major"], palette.lineStrong, palette.line];
}

function zoneColour({ zones }: MapPalette): ["match", ["get", string], string, string, string, string, string] {
  return ["match", ["get", "kind"], "service_area", zones.service_area, "no_go", zones.no_go, zones.site];
}
