import { createStore, type StoreApi } from "zustand/vanilla";

import type { Incident, IncidentState } from "../../shared/protocol/types";

export interface Incidents {
  readonly byId: ReadonlyMap<string, Incident>;
  /** When an incident was last heard of by any road, Unix ms. */
  readonly heardAtMs: number | null;
}

export type IncidentsStore = StoreApi<Incidents>;

export function createIncidentsStore(): IncidentsStore {
  return createStore(() => ({ byId: new Map<string, Incident>(), heardAtMs: null }));
}

/** Take an incident in. It comes by two roads: the same version twice is one, an older one is late and ignored. */
export function mergeIncidents(byId: ReadonlyMap<string, Incident>, incidents: readonly Incident[]): ReadonlyMap<string, Incident> {
  const news = incidents.filter((incident) => (byId.get(incident.incident_id)?.version ?? -1) < incident.version);
  if (news.length === 0) return byId;
  const merged = new Map(byId);
  for (const incident of news) {
    const known = merged.get(incident.incident_id);
    if ((known?.version ?? -1) < incident.version) merged.set(incident.incident_id, incident);
  }
  return merged;
}

const STATE_RANK: Readonly<Record<IncidentState, number>> = { open: 0, acknowledged: 1, closed: 2 };

/** The queue: open before acknowledged before closed, real before drill, the furthest escalated and longest waiting first. */
export function byUrgency(a: Incident, b: Incident): number {
  const isClosed = a.state === "closed" && b.state === "closed";
  return (
    STATE_RANK[a.state] - STATE_RANK[b.state] ||
    Number(a.is_drill) - Number(b.is_drill) ||
    (isClosed ? 0 : b.step - a.step) ||
    (isClosed ? b.opened_at.localeCompare(a.opened_at) : a.opened_at.localeCompare(b.opened_at))
  );
}

export function incidentQueue(byId: ReadonlyMap<string, Incident>): Incident[] {
  return [...byId.values()].sort(byUrgency);
}

/** Not yet closed but absent from a full snapshot: it was closed while nobody told us. */
export function missingFrom(byId: ReadonlyMap<string, Incident>, snapshot: readonly Incident[]): string[] {
  const present = new Set(snapshot.map((incident) => incident.incident_id));
  return [...byId.values()]
    .filter((incident) => incident.state !== "closed" && !present.has(incident.incident_id))
    .map((incident) => incident.incident_id);
}

/** Who asks for a human right now. */
export function openAlarms(byId: ReadonlyMap<string, Incident>): Incident[] {
  return incidentQueue(byId).filter((incident) => incident.state === "open");
}
