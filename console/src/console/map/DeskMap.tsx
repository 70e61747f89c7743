import { useEffect, useMemo, useRef, useState } from "react";
import { useStore } from "zustand";

import type { MapPort, MapView, ZoneShape } from "../../shared/map/mapPort";
import { MapSurface, type Marker } from "../../shared/map/MapSurface";
import { bboxOf, isWellInside, type Point } from "../../shared/map/mercator";
import { Glyph } from "../../shared/ui/Glyph";
import { BOOKING_LOOKS } from "../../shared/ui/states";
import { useDesk } from "../deskContext";
import type { Desk } from "../desk";
import { openAlarms } from "../incidents/incidentsStore";
import { alarmLook } from "../incidents/words";
import { go, usePanel } from "../route";
import { ZoneBar } from "../zones/ZoneBar";
import { Legend } from "./Legend";

const START_ZOOM = 12.4;
const VIEW_DEBOUNCE_MS = 150;
const PICK_RADIUS_PX = 14;
const NO_ZONES: readonly ZoneShape[] = [];
const NO_FIXES: readonly { readonly lat: number; readonly lng: number; readonly accuracy_m: number | null }[] = [];

/** The map of the desk: workers or cells as the server sends them, alarms and what is selected above. */
export function DeskMap() {
  const desk = useDesk();
  const panel = usePanel();
  const [port, setPort] = useState<MapPort | null>(null);
  const picture = useStore(desk.picture);
  const selectedSlot = panel.name === "worker" ? panel.slot : null;
  const start = useMemo(
    () => ({ center: desk.config.region.center, zoom: START_ZOOM, styleUrl: desk.config.map_style_url }),
    [desk],
  );

  useEffect(() => {
    if (!port) return;
    port.drawWorkers(desk.field, selectedSlot);
    port.drawCells(picture.cells);
  }, [port, desk, picture, selectedSlot]);

  const zones = useStore(desk.zones, (state) => (state.isShown ? state.shapes : NO_ZONES));
  useEffect(() => port?.drawZones(zones), [port, zones]);

  const trailPoints = useTrail(port, desk);

  const wanted = useStore(desk.focus, (state) => state.wanted);
  useEffect(() => {
    if (port && wanted) port.flyTo(wanted.place, wanted.zoom);
  }, [port, wanted]);

  const pending = useRef<ReturnType<typeof setTimeout> | undefined>(undefined);
  const look = (view: MapView, isByHand: boolean): void => {
    if (isByHand) desk.work.trail.setFollowed(false);
    clearTimeout(pending.current);
    pending.current = setTimeout(() => desk.look(view), VIEW_DEBOUNCE_MS);
  };

  return (
    <MapSurface
      start={start}
      label="Map of workers and alarms"
      markers={useMarkers(desk, selectedSlot)}
      onPort={setPort}
      onView={look}
      onPick={(map, pixel) => pick(map, desk, pixel)}
      data={{
        "data-testid": "desk-map",
        "data-mode": picture.mode,
        "data-workers": desk.field.dots.size,
        "data-cells": picture.cells.length,
        "data-zones": zones.length,
        "data-trail": trailPoints,
        "data-moved": desk.field.movedTotal,
        "data-at-ms": picture.atMs ?? "",
      }}
    >
      <ZoneBar />
      <Legend />
    </MapSurface>
  );
}

/** The line of the incident whose panel is open, kept in view while it is followed. Answers how many places it has. */
function useTrail(port: MapPort | null, desk: Desk): number {
  const { incidentId, fixes, isFollowed } = useStore(desk.work.trail.store);
  const first = useStore(desk.work.store, (state) => (incidentId === null ? null : (state.byId.get(incidentId)?.fix ?? null)));
  const places = useMemo(() => (fixes.length > 0 ? fixes : first ? [first] : NO_FIXES), [fixes, first]);
  useEffect(() => {
    port?.drawTrail(places.length === 0 ? null : { places, accuracyM: places.at(-1)?.accuracy_m ?? null });
  }, [port, places]);
  const shownFor = useRef<string | null>(null);
  useEffect(() => {
    const newest = places.at(-1);
    if (!port || !newest || !isFollowed || incidentId === null) return;
    const key = `${incidentId} ${fixes.length > 0 ? "trail" : "fix"}`;
    if (shownFor.current === key && isWellInside(newest, port.view().bbox)) return;
    shownFor.current = key;
    const area = bboxOf(places);
    if (area) port.fit(area);
  }, [port, incidentId, fixes, places, isFollowed]);
  return fixes.length;
}

/** Alarms, the selected worker and the selected booking's pin: HTML above the map, in this order. */
function useMarkers(desk: Desk, selectedSlot: number | null): readonly Marker[] {
  const panel = usePanel();
  const incidents = useStore(desk.work.store, (state) => state.byId);
  const bookings = useStore(desk.bookings, (state) => state.byId);
  const markers: Marker[] = [];
  const booking = panel.name === "booking" ? bookings.get(panel.id) : undefined;
  if (booking) {
    markers.push({ key: "pin", place: booking.pin, content: <span className="pin-mark"><Glyph look={BOOKING_LOOKS[booking.state]} size={14} /></span> });
  }
  const selected = selectedSlot ?? booking?.worker?.slot ?? null;
  const dot = selected === null ? undefined : desk.field.dots.get(selected);
  if (dot) markers.push({ key: "selected", place: dot, content: <span className="selected-mark" data-testid="selected-mark" /> });
  const shown = panel.name === "incident" ? [...openAlarms(incidents), ...[incidents.get(panel.id)].filter((each) => each?.state === "acknowledged")] : openAlarms(incidents);
  for (const incident of shown) {
    if (!incident?.fix) continue;
    markers.push({
      key: incident.incident_id,
      place: incident.fix,
      content: (
        <button
          type="button"
          className="alarm-mark"
          data-state={incident.state}
          data-drill={incident.is_drill}
          data-trust={incident.trust}
          aria-label={`${incident.is_drill ? "Drill" : incident.trust === "unverified" ? "Unverified alarm" : "Alarm"} of ${incident.person.name}`}
          onClick={() => go({ name: "incident", id: incident.incident_id })}
        >
          <Glyph look={alarmLook(incident)} size={20} />
        </button>
      ),
    });
  }
  return markers;
}

function pick(map: MapPort, desk: Desk, pixel: Point): void {
  let best: { readonly slot: number; readonly distance: number } | null = null;
  for (const dot of desk.field.dots.values()) {
    const { x, y } = map.project(dot);
    const distance = Math.hypot(x - pixel.x, y - pixel.y);
    if (distance < (best?.distance ?? PICK_RADIUS_PX)) best = { slot: dot.slot, distance };
  }
  if (best) go({ name: "worker", slot: best.slot });
  else if (desk.picture.getState().mode === "cells") map.flyTo(map.unproject(pixel), 12.6);
}
