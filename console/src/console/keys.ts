import { useEffect } from "react";

import type { Desk } from "./desk";
import { useDesk } from "./deskContext";
import { incidentQueue, neighbour, openAlarms } from "./incidents/incidentsStore";
import { go, parseHash } from "./route";

interface DeskKeys {
  readonly openPalette: () => void;
  readonly isPaletteOpen: boolean;
}

/** The desk's keys, shown in the palette. They rest while a person types or while a dialog is open. */
export const KEYS = {
  map: "m",
  bookings: "b",
  incidents: "i",
  silence: "u",
  safety: "d",
  workers: "w",
  wide: "f",
  acknowledge: "a",
  next: "j",
  previous: "k",
  handOver: "h",
  close: "c",
  note: "n",
  mute: "s",
} as const;

export function useDeskKeys({ openPalette, isPaletteOpen }: DeskKeys): void {
  const desk = useDesk();
  useEffect(() => {
    const onKey = (event: KeyboardEvent): void => {
      if ((event.ctrlKey || event.metaKey) && event.key.toLowerCase() === "k") {
        event.preventDefault();
        openPalette(); return;
      }
      if (isPaletteOpen || event.ctrlKey || event.metaKey || event.altKey || isTyping(event.target) || isDialogOpen()) return;
      const act = actionOf(desk, openPalette, event.key);
      if (!act) return;
      event.preventDefault();
      act();
    };
    addEventListener("keydown", onKey);
    return () => removeEventListener("keydown", onKey);
  }, [desk, openPalette, isPaletteOpen]);
}

function actionOf(desk: Desk, openPalette: () => void, key: string): (() => void) | null {
  switch (key) {
    case KEYS.map:
    case "Escape":
      return () => go({ name: "map" });
    case KEYS.bookings:
      return () => go({ name: "bookings" });
    case KEYS.incidents:
      return () => go({ name: "incidents" });
    case KEYS.silence:
      return () => go({ name: "silence" });
    case KEYS.safety:
      return () => go({ name: "safety" });
    case KEYS.workers:
      return () => go({ name: "workers" });
    case KEYS.wide:
      return () => toggleWide(desk);
    case KEYS.mute:
      return () => toggleMuted(desk);
    case KEYS.acknowledge:
      return () => takeAlarm(desk);
    case KEYS.next:
      return () => moveInQueue(desk, 1);
    case KEYS.previous:
      return () => moveInQueue(desk, -1);
    case KEYS.handOver:
      return () => askFor(desk, "hand_over");
    case KEYS.close:
      return () => askFor(desk, "close");
    case KEYS.note:
      return () => askFor(desk, "note");
    case "/":
    case "?":
      return openPalette;
    default:
      return null;
  }
}

export function toggleWide(desk: Desk): void {
  desk.layout.setState(({ isWide }) => ({ isWide: !isWide }));
}

export function toggleMuted({ sound }: Desk): void {
  sound.setMuted(!sound.state.getState().isMuted);
}

/** Opens the most urgent alarm; acknowledging stays a deliberate second step there. */
export function openFirstAlarm(desk: Desk): void {
  const first = openAlarms(desk.work.store.getState().byId)[0];
  if (first) go({ name: "incident", id: first.incident_id });
}

/** On an open alarm's panel: take it. On a row of the queue: open it. Anywhere else: open the most urgent. */
function takeAlarm(desk: Desk): void {
  const panel = parseHash(location.hash);
  const { byId } = desk.work.store.getState();
  if (panel.name === "incident" && byId.get(panel.id)?.state === "open") {
    desk.work.asked.setState({ what: "acknowledge" });
    return;
  }
  const selected = panel.name === "incidents" ? byId.get(desk.work.selection.getState().id ?? "") : undefined;
  if (selected?.state === "open") go({ name: "incident", id: selected.incident_id });
  else openFirstAlarm(desk);
}

/** One row on, in the queue or from panel to panel. */
function moveInQueue(desk: Desk, step: 1 | -1): void {
  const panel = parseHash(location.hash);
  const queue = incidentQueue(desk.work.store.getState().byId);
  const from = panel.name === "incident" ? panel.id : desk.work.selection.getState().id;
  const found = neighbour(queue, from, step);
  if (!found) return;
  desk.work.selection.setState({ id: found.incident_id });
  if (panel.name === "incident") go({ name: "incident", id: found.incident_id });
  else if (panel.name !== "incidents") go({ name: "incidents" });
}

function askFor(desk: Desk, what: "hand_over" | "close" | "note"): void {
  const panel = parseHash(location.hash);
  if (panel.name !== "incident") return;
  const state = desk.work.store.getState().byId.get(panel.id)?.state;
  if (what === "note" || state === "acknowledged") desk.work.asked.setState({ what });
}

function isDialogOpen(): boolean {
  return document.querySelector("dialog[open]") !== null;
}

function isTyping(target: EventTarget | null): boolean {
  if (!(target instanceof HTMLElement)) return false;
  return target.isContentEditable || ["INPUT", "TEXTAREA", "SELECT"].includes(target.tagName);
}
