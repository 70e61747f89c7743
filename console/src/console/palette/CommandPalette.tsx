import { useEffect, useId, useMemo, useRef, useState, type KeyboardEvent } from "react";

import type { Session } from "../../shared/session/session";
import { chooseTheme, currentTheme } from "../../shared/ui/theme";
import { BOOKING_LOOKS } from "../../shared/ui/states";
import { useDesk } from "../deskContext";
import type { Desk } from "../desk";
import { incidentQueue } from "../incidents/incidentsStore";
import { KEYS, openFirstAlarm, toggleMuted, toggleWide } from "../keys";
import { go } from "../route";

interface Command {
  readonly id: string;
  readonly label: string;
  readonly note?: string;
  readonly hotkey?: string;
  readonly run: () => void;
}

const FOUND_MAX = 12;

/** Everything by typing: places of the desk, bookings, workers, incidents. */
export function CommandPalette({ session, close }: { readonly session: Session; readonly close: () => void }) {
  const desk = useDesk();
  const dialog = useRef<HTMLDialogElement>(null);
  const listId = useId();
  const [words, setWords] = useState("");
  const [at, setAt] = useState(0);
  const commands = useMemo(() => fixedCommands(desk, session), [desk, session]);
  const found = useMemo(() => search(commands, desk, words), [commands, desk, words]);

  useEffect(() => {
    const element = dialog.current;
    element?.showModal();
    return () => element?.close();
  }, []);

  const run = (command: Command | undefined): void => {
    if (!command) return;
    close();
    command.run();
  };
  const onKey = (event: KeyboardEvent): void => {
    const step = event.key === "ArrowDown" ? 1 : event.key === "ArrowUp" ? -1 : 0;
    if (step !== 0 && found.length > 0) {
      event.preventDefault();
      setAt((at + step + found.length) % found.length);
    } else if (event.key === "Enter") {
      event.preventDefault();
      run(found[at]);
    }
  };

  return (
    <dialog ref={dialog} className="palette" aria-label="Commands" onClose={close} onClick={(event) => event.target === dialog.current && close()} data-testid="palette">
      <input
        role="combobox"
        aria-expanded="true"
        aria-controls={listId}
        aria-activedescendant={found[at] ? `${listId}-${at}` : undefined}
        aria-label="Command or search"
        placeholder="Go to, find a booking, a worker, an incident…"
        value={words}
        autoFocus
        onChange={(event) => {
          setWords(event.target.value);
          setAt(0);
        }}
        onKeyDown={onKey}
        data-testid="palette-input"
      />
      <ul id={listId} role="listbox" aria-label="Found">
        {found.map((command, index) => (
          <li key={command.id} id={`${listId}-${index}`} role="option" aria-selected={index === at} onPointerMove={() => setAt(index)} onClick={() => run(command)}>
            <span className="grow clip">{command.label}</span>
            {command.note && <span className="faint small">{command.note}</span>}
            {command.hotkey && <kbd>{command.hotkey.toUpperCase()}</kbd>}
          </li>
        ))}
      </ul>
      {found.length === 0 && <p className="empty">Nothing found.</p>}
    </dialog>
  );
}

function fixedCommands(desk: Desk, session: Session): readonly Command[] {
  return [
    { id: "map", label: "Map only", hotkey: KEYS.map, run: () => go({ name: "map" }) },
    { id: "bookings", label: "Bookings", hotkey: KEYS.bookings, run: () => go({ name: "bookings" }) },
    { id: "incidents", label: "Incidents", hotkey: KEYS.incidents, run: () => go({ name: "incidents" }) },
    { id: "silence", label: "Not heard of: silence as a signal", hotkey: KEYS.silence, run: () => go({ name: "silence" }) },
    { id: "safety", label: "Drills, figures, hand the desk over", hotkey: KEYS.safety, run: () => go({ name: "safety" }) },
    { id: "workers", label: "Workers in view, as a table", hotkey: KEYS.workers, run: () => go({ name: "workers" }) },
    { id: "wide", label: "Widen or narrow the panel", hotkey: KEYS.wide, run: () => toggleWide(desk) },
    { id: "first", label: "Open the most urgent alarm", hotkey: KEYS.acknowledge, run: () => openFirstAlarm(desk) },
    { id: "city", label: `Show all of ${desk.config.region.name}`, run: () => desk.flyTo(desk.config.region.center, 12.4) },
    { id: "cells", label: "Zoom out to cells", run: () => desk.flyTo(desk.config.region.center, 11) },
    { id: "mute", label: "Mute or unmute alarms", hotkey: KEYS.mute, run: () => toggleMuted(desk) },
    { id: "theme", label: "Switch light and dark", run: () => chooseTheme(currentTheme() === "dark" ? "light" : "dark") },
    { id: "out", label: "Sign out", run: () => void session.signOut() },
  ];
}

function search(commands: readonly Command[], desk: Desk, words: string): readonly Command[] {
  const needle = words.trim().toLowerCase();
  if (needle === "") return commands;
  const hits = (text: string): boolean => text.toLowerCase().includes(needle);
  const incidents = incidentQueue(desk.work.store.getState().byId)
    .filter((incident) => hits(`${incident.person.name} ${incident.incident_id}`))
    .map((incident): Command => ({ id: incident.incident_id, label: incident.person.name, note: `incident, ${incident.state}`, run: () => go({ name: "incident", id: incident.incident_id }) }));
  const bookings = [...desk.bookings.getState().byId.values()]
    .filter((booking) => hits(`${booking.address.line} ${booking.customer?.name ?? ""} ${booking.booking_id}`))
    .map((booking): Command => ({ id: booking.booking_id, label: booking.address.line, note: `booking, ${BOOKING_LOOKS[booking.state].label.toLowerCase()}`, run: () => go({ name: "booking", id: booking.booking_id }) }));
  const workers = [...desk.people.getState().bySlot.values()]
    .filter((worker) => hits(`${worker.full_name} ${worker.slot}`))
    .map((worker): Command => ({ id: worker.worker_id, label: worker.full_name, note: `worker ${worker.slot}`, run: () => go({ name: "worker", slot: worker.slot }) }));
  return [...commands.filter((command) => hits(command.label)), ...incidents, ...bookings, ...workers].slice(0, FOUND_MAX);
}
