import { createStore, type StoreApi } from "zustand/vanilla";

import type { Incident, IncidentState } from "../../shared/protocol/types";

export interface Incidents {
  readonly byId: ReadonlyMap<string, Incident>;
  /** Rows of a door's memory that gave way, and to which incident: null where there was none. */
  readonly replacedBy: ReadonlyMap<string, string | null>;
  /** When an incident was last heard of by any road, Unix ms. */
  readonly heardAtMs: number | null;
}

export type IncidentsStore = StoreApi<Incidents>;

export function createIncidentsStore(): IncidentsStore {
  return createStore(() => ({ byId: new Map<string, Incident>(), replacedBy: new Map<string, string | null>(), heardAtMs: null }));
}

/**
 * Take incidents in. They come by two roads: the same version twice is one, an older one is late and ignored. A row of
 * a door's memory has version 0 whatever happens to it: there the newest word counts, until the database has it.
 */
export function mergeIncidents(byId: ReadonlyMap<string, Incident>, incidents: readonly Incident[]): ReadonlyMap<string, Incident> {
  let merged: Map<string, Incident> | null = null;
  for (const incident of incidents) {
    const known = (merged ?? byId).get(incident.incident_id);
    const isNews = (known?.version ?? -1) < incident.version || (known?.spooled === true && incident.spooled === true);
    if (!isNews) continue;
    merged ??= new Map(byId);
    merged.set(incident.incident_id, incident);
  }
  return merged ?? byId;
}

/** End a row of a door's memory: it is part of the incident `by`, or of none. */
export function replaceIncident(state: Incidents, incidentId: string, by: string | null): Partial<Incidents> {
  const replacedBy = new Map(state.replacedBy).set(incidentId, by);
  if (state.byId.get(incidentId)?.spooled !== true) return { replacedBy };
  const byId = new Map(state.byId);
  byId.delete(incidentId);
  return { byId, replacedBy };
}

const STATE_RANK: Readonly<Record<IncidentState, number>> = { open: 0, acknowledged: 1, closed: 2 };

/**
 * The queue: nobody's before somebody's before closed; real before drill; vouched for before unverified; then the most
 * severe, the furthest escalated, the longest waiting. What is closed: the newest first.
 */
export function byUrgency(a: Incident, b: Incident): number {
  const byState = STATE_RANK[a.state] - STATE_RANK[b.state];
  if (byState !== 0) return byState;
  if (a.state === "closed") return b.opened_at.localeCompare(a.opened_at);
  return (
    Number(a.is_drill) - Number(b.is_drill) ||
    Number(isUnverified(a)) - Number(isUnverified(b)) ||
    b.severity - a.severity ||
    b.step - a.step ||
    a.opened_at.localeCompare(b.opened_at)
  );
}

export function isUnverified(incident: Incident): boolean {
  return incident.trust === "unverified";
}

export function incidentQueue(byId: ReadonlyMap<string, Incident>): Incident[] {
  return [...byId.values()].sort(byUrgency);
}

/** Not yet closed but absent from a full snapshot: it was closed while nobody told us. */
export function missingFrom(byId: ReadonlyMap<string, Incident>, snapshot: readonly Incident[]): string[] {
  const present = new Set(snapshot.map((incident) => incident.incident_id));
  return [...byId.values()]
    .filter((incident) => incident.state !== "closed" && incident.spooled !== true && !present.has(incident.incident_id))
    .map((incident) => incident.incident_id);
}

/** Who asks for a human right now. */
export function openAlarms(byId: ReadonlyMap<string, Incident>): Incident[] {
  return incidentQueue(byId).filter((incident) => incident.state === "open");
}

/** What the tab is called: an alarm shows also where another page is in front. */
export function pageTitle(byId: ReadonlyMap<string, Incident>, name: string): string {
  const open = openAlarms(byId);
  const real = open.filter((incident) => !incident.is_drill).length;
  if (real > 0) return `(${real}) ${real === 1 ? "alarm" : "alarms"} - ${name}`;
  return open.length > 0 ? `(drill) - ${name}` : name;
}

/** The row `step` places further in the queue, from the first where none is chosen; the ends hold. */
export function neighbour(queue: readonly Incident[], selectedId: string | null, step: 1 | -1): Incident | undefined {
  const at = queue.findIndex((incident) => incident.incident_id === selectedId);
  if (at === -1) return queue[step === 1 ? 0 : queue.length - 1];
  return queue[Math.max(0, Math.min(queue.length - 1, at + step))];
}
