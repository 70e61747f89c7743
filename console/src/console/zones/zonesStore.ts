import { createStore, type StoreApi } from "zustand/vanilla";

import type { ZoneEvent, ZoneFeature } from "../../shared/protocol/types";
import type { ZoneShape } from "../../shared/map/mapPort";

export interface Zones {
  readonly shapes: readonly ZoneShape[];
  readonly isShown: boolean;
  /** The newest event by its number: after a reconnection older ones may come again. */
  readonly latest: ZoneEvent | null;
}

export type ZonesStore = StoreApi<Zones>;

export function createZonesStore(): ZonesStore {
  return createStore(() => ({ shapes: [], isShown: true, latest: null }));
}

/** The zones that count, as the map draws them. */
export function shapesOf(features: readonly ZoneFeature[]): readonly ZoneShape[] {
  return features
    .filter((feature) => feature.properties.active)
    .map(({ id, properties, geometry }) => ({ id, name: properties.name, kind: properties.kind, polygons: geometry.coordinates }));
}

export function newerEvent(latest: ZoneEvent | null, event: ZoneEvent): ZoneEvent {
  return latest && latest.event_id >= event.event_id ? latest : event;
}

/** Whether an event tells of zones that are not the ones drawn. */
export function isOutdated(shapes: readonly ZoneShape[], event: ZoneEvent): boolean {
  return event.reason === "zone_changed" || !shapes.some((shape) => shape.id === event.zone_id);
}

const VERBS: Readonly<Record<ZoneEvent["kind"], string>> = { enter: "entered", exit: "left", dwell: "has stayed in" };
const WHY: Readonly<Record<ZoneEvent["reason"], string>> = {
  moved: "",
  off_duty: " (off duty)",
  zone_changed: " (zone changed)",
  recovered: " (noticed late)",
};

export function zoneWords(event: ZoneEvent, worker: string): string {
  return `${worker} ${VERBS[event.kind]} ${event.zone_name}${WHY[event.reason]}`;
}
