import type { Rest } from "../../shared/protocol/rest";
import type { ArmedDesk, IncidentStatistics } from "../../shared/protocol/types";
import type { DrillPlan } from "./drillPlan";

export interface SafetyState {
  readonly desks: readonly ArmedDesk[];
  readonly statistics: IncidentStatistics;
  readonly plan: DrillPlan;
  readonly atMs: number;
}

const DAY_MS = 86_400_000;

/** What the page of drills and figures shows, of the last so many days. */
export async function readSafetyState(rest: Rest, nowMs: number, days: number): Promise<SafetyState> {
  const span = new URLSearchParams({ from: new Date(nowMs - days * DAY_MS).toISOString(), to: new Date(nowMs).toISOString() });
  const [desks, statistics, plan] = await Promise.all([
    rest.get<{ readonly items: readonly ArmedDesk[] }>("/v1/desks"),
    rest.get<IncidentStatistics>(`/v1/incidents/statistics?${span.toString()}`),
    rest.get<DrillPlan>("/v1/drills/plan"),
  ]);
  return { desks: desks.items, statistics, plan, atMs: nowMs };
}
