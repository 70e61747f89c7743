import { useEffect } from "react";

import type { Desk } from "./desk";
import { useDesk } from "./deskContext";
import { openAlarms } from "./incidents/incidentsStore";
import { go } from "./route";

interface DeskKeys {
  readonly openPalette: () => void;
  readonly isPaletteOpen: boolean;
}

/** The desk's keys, shown in the palette. They rest while a person types or while the palette is open. */
export const KEYS = {
  map: "m",
  bookings: "b",
  incidents: "i",
  workers: "w",
  wide: "f",
  acknowledge: "a",
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
      if (isPaletteOpen || event.ctrlKey || event.metaKey || event.altKey || isTyping(event.target)) return;
      const act = actionOf(event.key);
      if (!act) return;
      event.preventDefault();
      act();
    };
    const actionOf = (key: string): (() => void) | null => {
      switch (key) {
        case KEYS.map:
        case "Escape":
          return () => go({ name: "map" });
        case KEYS.bookings:
          return () => go({ name: "bookings" });
        case KEYS.incidents:
          return () => go({ name: "incidents" });
        case KEYS.workers:
          return () => go({ name: "workers" });
        case KEYS.wide:
          return () => toggleWide(desk);
        case KEYS.mute:
          return () => toggleMuted(desk);
        case KEYS.acknowledge:
          return () => openFirstAlarm(desk);
        case "/":
        case "?":
          return openPalette;
        default:
          return null;
      }
    };
    addEventListener("keydown", onKey);
    return () => removeEventListener("keydown", onKey);
  }, [desk, openPalette, isPaletteOpen]);
}

export function toggleWide(desk: Desk): void {
  desk.layout.setState(({ isWide }) => ({ isWide: !isWide }));
}

export function toggleMuted({ sound }: Desk): void {
  sound.setMuted(!sound.state.getState().isMuted);
}

/** Opens the alarm that waits longest; acknowledging stays a deliberate second step there. */
export function openFirstAlarm(desk: Desk): void {
  const first = openAlarms(desk.incidents.getState().byId)[0];
  if (first) go({ name: "incident", id: first.incident_id });
}

function isTyping(target: EventTarget | null): boolean {
  if (!(target instanceof HTMLElement)) return false;
  return target.isContentEditable || ["INPUT", "TEXTAREA", "SELECT"].includes(target.tagName);
}
