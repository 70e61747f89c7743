import { WORKER_STATUSES, type CellCount, type WorkerDot } from "../protocol/frames";
import type { LatLng } from "../protocol/types";
import { graticule } from "./graticule";
import { cellBoundaries, type MapEvents, type MapPort, type MapStart, type MapView, type TrailShape, type ZoneShape } from "./mapPort";
import { FIT_PADDING_PX, FIT_ZOOM_MAX, fromMercator, mercatorX, mercatorY, metresPerPx, worldPx, zoomToFit, type Bbox, type Point } from "./mercator";
import { css, dotPx, readPalette, ZONE_FILL_OPACITY } from "./palette";
import type { WorkerField } from "./workerField";

const ZOOM_MIN = 3;
const ZOOM_MAX = 19;
const KEY_PAN_PX = 80;
const CLICK_SLACK_PX = 4;

/** A map on a plain 2D canvas, for machines without WebGL: the same people on the same ground. */
export function openCanvasMap(element: HTMLElement, start: MapStart, events: MapEvents): MapPort {
  return new CanvasMap(element, start, events);
}

class CanvasMap implements MapPort {
  readonly kind = "canvas" as const;
  private readonly canvas = document.createElement("canvas");
  private readonly stop = new AbortController();
  private readonly observer: ResizeObserver;
  private palette = readPalette();
  private center: Point;
  private zoom: number;
  private drag: { readonly id: number; readonly from: Point; readonly center: Point; hasMoved: boolean } | null = null;
  private field: WorkerField | null = null;
  private selectedSlot: number | null = null;
  private cells: readonly CellCount[] = [];
  private zones: readonly ZoneShape[] = [];
  private trail: TrailShape | null = null;
  private boundaries: ((h3: string) => readonly LatLng[]) | null = null;
  private isPaintDue = false;

  constructor(
    private readonly element: HTMLElement,
    start: MapStart,
    private readonly events: MapEvents,
  ) {
    this.center = { x: mercatorX(start.center.lng), y: mercatorY(start.center.lat) };
    this.zoom = start.zoom;
    this.canvas.className = "canvas-map";
    this.canvas.tabIndex = 0;
    this.canvas.setAttribute("role", "region");
    this.canvas.setAttribute("aria-label", "Map");
    element.append(this.canvas);
    this.listen();
    this.observer = new ResizeObserver(() => this.resize());
    this.observer.observe(element);
    this.resize();
  }

  view(): MapView {
    const northWest = this.unproject({ x: 0, y: 0 });
    const southEast = this.unproject({ x: this.element.clientWidth, y: this.element.clientHeight });
    return {
      center: fromMercator(this.center),
      zoom: this.zoom,
      bbox: [northWest.lng, southEast.lat, southEast.lng, northWest.lat],
    };
  }

  project({ lat, lng }: LatLng): Point {
    const world = worldPx(this.zoom);
    return {
      x: this.element.clientWidth / 2 + (mercatorX(lng) - this.center.x) * world,
      y: this.element.clientHeight / 2 + (mercatorY(lat) - this.center.y) * world,
    };
  }

  unproject({ x, y }: Point): LatLng {
    const world = worldPx(this.zoom);
    return fromMercator({
      x: this.center.x + (x - this.element.clientWidth / 2) / world,
      y: this.center.y + (y - this.element.clientHeight / 2) / world,
    });
  }

  flyTo({ lat, lng }: LatLng, zoom = this.zoom): void {
    this.look({ x: mercatorX(lng), y: mercatorY(lat) }, zoom);
    this.events.onSettle(false);
  }

  fit(area: Bbox): void {
    const [west, south, east, north] = area;
    const room = { x: this.element.clientWidth - 2 * FIT_PADDING_PX, y: this.element.clientHeight - 2 * FIT_PADDING_PX };
    const center = { x: (mercatorX(west) + mercatorX(east)) / 2, y: (mercatorY(south) + mercatorY(north)) / 2 };
    this.look(center, zoomToFit(area, { x: Math.max(room.x, 1), y: Math.max(room.y, 1) }, FIT_ZOOM_MAX));
    this.events.onSettle(false);
  }

  zoomBy(steps: number): void {
    this.look(this.center, this.zoom + steps);
    this.events.onSettle(false);
  }

  drawWorkers(field: WorkerField, selectedSlot: number | null): void {
    this.field = field;
    this.selectedSlot = selectedSlot;
    this.paintSoon();
  }

  drawCells(cells: readonly CellCount[]): void {
    this.cells = cells;
    this.paintSoon();
    if (this.boundaries || cells.length === 0) return;
    void cellBoundaries().then((boundaries) => {
      this.boundaries = boundaries;
      this.paintSoon();
    });
  }

  drawZones(zones: readonly ZoneShape[]): void {
    this.zones = zones;
    this.paintSoon();
  }

  drawTrail(trail: TrailShape | null): void {
    this.trail = trail;
    this.paintSoon();
  }

  repaintColours(): void {
    this.palette = readPalette();
    this.paintSoon();
  }

  resize(): void {
    this.canvas.width = this.element.clientWidth * devicePixelRatio;
    this.canvas.height = this.element.clientHeight * devicePixelRatio;
    this.paintSoon();
    this.events.onMove();
    this.events.onSettle(false);
  }

  destroy(): void {
    this.stop.abort();
    this.observer.disconnect();
    this.canvas.remove();
  }

  private listen(): void {
    const { signal } = this.stop;
    const on = <K extends keyof HTMLElementEventMap>(name: K, handler: (event: HTMLElementEventMap[K]) => void): void =>
      this.canvas.addEventListener(name, handler, { signal });
    on("pointerdown", (event) => {
      this.canvas.setPointerCapture(event.pointerId);
      this.drag = { id: event.pointerId, from: { x: event.clientX, y: event.clientY }, center: this.center, hasMoved: false };
    });
    on("pointermove", (event) => this.pan(event));
    on("pointerup", (event) => this.release(event));
    on("pointercancel", () => (this.drag = null));
    on("wheel", (event) => {
      event.preventDefault();
      this.zoomAround({ x: event.offsetX, y: event.offsetY }, this.zoom - event.deltaY / 300);
      this.events.onSettle(true);
    });
    on("keydown", (event) => this.key(event));
  }

  private pan(event: PointerEvent): void {
    const drag = this.drag;
    if (drag?.id !== event.pointerId) return;
    const [dx, dy] = [event.clientX - drag.from.x, event.clientY - drag.from.y];
    drag.hasMoved ||= Math.hypot(dx, dy) > CLICK_SLACK_PX;
    if (!drag.hasMoved) return;
    const world = worldPx(this.zoom);
    this.look({ x: drag.center.x - dx / world, y: drag.center.y - dy / world }, this.zoom);
  }

  private release(event: PointerEvent): void {
    const drag = this.drag;
    this.drag = null;
    if (!drag) return;
    if (drag.hasMoved) this.events.onSettle(true);
    else this.events.onPick({ x: event.offsetX, y: event.offsetY });
  }

  private key(event: KeyboardEvent): void {
    const pan: Partial<Record<string, readonly [number, number]>> = {
      ArrowLeft: [-KEY_PAN_PX, 0],
      ArrowRight: [KEY_PAN_PX, 0],
      ArrowUp: [0, -KEY_PAN_PX],
      ArrowDown: [0, KEY_PAN_PX],
    };
    const step = pan[event.key];
    if (step) {
      event.preventDefault();
      const world = worldPx(this.zoom);
      this.look({ x: this.center.x + step[0] / world, y: this.center.y + step[1] / world }, this.zoom);
      this.events.onSettle(true);
    } else if (event.key === "+" || event.key === "=") this.zoomBy(1);
    else if (event.key === "-") this.zoomBy(-1);
  }

  private zoomAround(pixel: Point, zoom: number): void {
    const fixed = this.unproject(pixel);
    this.look(this.center, zoom);
    const moved = this.project(fixed);
    const world = worldPx(this.zoom);
    this.look({ x: this.center.x + (moved.x - pixel.x) / world, y: this.center.y + (moved.y - pixel.y) / world }, this.zoom);
  }

  private look(center: Point, zoom: number): void {
    this.center = { x: Math.max(0, Math.min(1, center.x)), y: Math.max(0, Math.min(1, center.y)) };
    this.zoom = Math.max(ZOOM_MIN, Math.min(ZOOM_MAX, zoom));
    this.paintSoon();
    this.events.onMove();
  }

  private paintSoon(): void {
    if (this.isPaintDue) return;
    this.isPaintDue = true;
    requestAnimationFrame(() => {
      this.isPaintDue = false;
      this.paint();
    });
  }

  private paint(): void {
    const context = this.canvas.getContext("2d");
    if (!context) return;
    context.setTransform(devicePixelRatio, 0, 0, devicePixelRatio, 0, 0);
    context.fillStyle = this.palette.ground;
    context.fillRect(0, 0, this.element.clientWidth, this.element.clientHeight);
    this.paintGrid(context);
    this.paintZones(context);
    this.paintCells(context);
    this.paintWorkers(context);
    this.paintTrail(context);
  }

  private paintGrid(context: CanvasRenderingContext2D): void {
    for (const { isMajor, from, to } of graticule(this.view().bbox)) {
      const [a, b] = [this.project({ lng: from[0], lat: from[1] }), this.project({ lng: to[0], lat: to[1] })];
      context.strokeStyle = isMajor ? this.palette.lineStrong : this.palette.line;
      context.beginPath();
      context.moveTo(a.x, a.y);
      context.lineTo(b.x, b.y);
      context.stroke();
    }
  }

  private paintZones(context: CanvasRenderingContext2D): void {
    for (const { kind, polygons } of this.zones) {
      context.fillStyle = context.strokeStyle = this.palette.zones[kind];
      context.beginPath();
      for (const ring of polygons.flat()) {
        for (const [lng, lat] of ring) {
          const { x, y } = this.project({ lng, lat });
          context.lineTo(x, y);
        }
        context.closePath();
      }
      context.globalAlpha = ZONE_FILL_OPACITY;
      context.fill("evenodd");
      context.globalAlpha = 1;
      context.stroke();
    }
  }

  private paintCells(context: CanvasRenderingContext2D): void {
    if (!this.boundaries) return;
    const most = Math.max(1, ...this.cells.map((cell) => cell.workers));
    context.fillStyle = this.palette.cell;
    for (const cell of this.cells) {
      context.globalAlpha = 0.1 + 0.6 * Math.sqrt(cell.workers / most);
      context.beginPath();
      for (const corner of this.boundaries(cell.h3)) {
        const { x, y } = this.project(corner);
        context.lineTo(x, y);
      }
      context.fill();
    }
    context.globalAlpha = 1;
  }

  private paintTrail(context: CanvasRenderingContext2D): void {
    const newest = this.trail?.places.at(-1);
    if (!this.trail || !newest) return;
    context.strokeStyle = context.fillStyle = this.palette.alarm;
    context.lineWidth = 3;
    context.lineJoin = "round";
    context.beginPath();
    for (const place of this.trail.places) {
      const { x, y } = this.project(place);
      context.lineTo(x, y);
    }
    context.stroke();
    context.lineWidth = 1;
    if (this.trail.accuracyM === null) return;
    const { x, y } = this.project(newest);
    context.beginPath();
    context.arc(x, y, this.trail.accuracyM / metresPerPx(newest.lat, this.zoom), 0, Math.PI * 2);
    context.globalAlpha = ZONE_FILL_OPACITY;
    context.fill();
    context.globalAlpha = 1;
    context.stroke();
  }

  private paintWorkers(context: CanvasRenderingContext2D): void {
    if (!this.field) return;
    context.strokeStyle = css(this.palette.edge);
    for (const dot of this.field.dots.values()) {
      const at = this.project(dot);
      const radius = (dotPx(this.zoom) / 2) * (dot.slot === this.selectedSlot ? 1.7 : 1);
      if (at.x < -radius || at.y < -radius || at.x > this.element.clientWidth + radius || at.y > this.element.clientHeight + radius) continue;
      const colour = css(this.palette.status[WORKER_STATUSES.indexOf(dot.status)] ?? [0.5, 0.5, 0.5]);
      paintShape(context, dot.status, at, radius, colour);
    }
  }
}

function paintShape(context: CanvasRenderingContext2D, status: WorkerDot["status"], { x, y }: Point, r: number, colour: string): void {
  context.beginPath();
  if (status === "offered") {
    context.moveTo(x, y - r);
    context.lineTo(x + r, y);
    context.lineTo(x, y + r);
    context.lineTo(x - r, y);
    context.closePath();
  } else if (status === "tracked") {
    for (let corner = 0; corner < 8; corner += 1) {
      const angle = ((corner + 0.5) * Math.PI) / 4;
      context.lineTo(x + r * Math.cos(angle), y + r * Math.sin(angle));
    }
    context.closePath();
  } else if (status === "busy") {
    context.rect(x - r * 0.75, y - r * 0.75, r * 1.5, r * 1.5);
  } else {
    context.arc(x, y, status === "silent" ? r * 0.7 : r * 0.85, 0, Math.PI * 2);
  }
  if (status === "silent") {
    const edge = context.strokeStyle;
    context.strokeStyle = colour;
    context.lineWidth = 2;
    context.stroke();
    context.strokeStyle = edge;
    context.lineWidth = 1;
    return;
  }
  context.fillStyle = colour;
  context.fill();
  context.stroke();
}
