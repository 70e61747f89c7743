import type { Incident } from "../../shared/protocol/types";

export const WEEKDAYS = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"] as const;
export type Weekday = (typeof WEEKDAYS)[number];

export const DAY_WORDS: Readonly<Record<Weekday, string>> = { mon: "Mon", tue: "Tue", wed: "Wed", thu: "Thu", fri: "Fri", sat: "Sat", sun: "Sun" };

export interface DrillWeek {
  readonly tz: string;
  readonly days: readonly Weekday[];
  readonly at: readonly string[];
}

/** When the organisation practises by itself: every so many hours, at times of the week, both or neither. */
export interface DrillPlan {
  readonly every_h: number | null;
  readonly weekly: DrillWeek | null;
  readonly next_at: string | null;
}

/** Both ways in a sentence each. */
export function planWords({ every_h, weekly }: DrillPlan): readonly string[] {
  return [
    ...(every_h === null ? [] : [`One begins every ${every_h} h.`]),
    ...(weekly === null ? [] : [`One begins on ${weekly.days.map((day) => DAY_WORDS[day]).join(", ")} at ${weekly.at.join(", ")} (${weekly.tz}).`]),
  ];
}

/** What a form asks the server for; without days there is no plan of the week. */
export function planOf(form: FormData, tz: string): Pick<DrillPlan, "every_h" | "weekly"> {
  const text = (name: string): string => {
    const value = form.get(name);
    return typeof value === "string" ? value.trim() : "";
  };
  const days = WEEKDAYS.filter((day) => form.getAll("days").includes(day));
  const at = text("at").split(/[\s,;]+/).filter((one) => one !== "");
  return {
    every_h: text("every_h") === "" ? null : Number(text("every_h")),
    weekly: days.length === 0 ? null : { tz: text("tz") || tz, days, at },
  };
}

export interface DrillResult {
  readonly incidentId: string;
  readonly openedAt: string;
  /** Null while nobody has answered. */
  readonly answeredAfterS: number | null;
  readonly isClosed: boolean;
}

/** The newest drills, newest first. */
export function lastDrills(incidents: Iterable<Incident>, count: number): readonly DrillResult[] {
  return [...incidents]
    .filter(({ is_drill }) => is_drill)
    .sort((a, b) => b.opened_at.localeCompare(a.opened_at))
    .slice(0, count)
    .map(({ incident_id, opened_at, acknowledged_at, state }) => ({
      incidentId: incident_id,
      openedAt: opened_at,
      answeredAfterS: acknowledged_at === null ? null : (Date.parse(acknowledged_at) - Date.parse(opened_at)) / 1000,
      isClosed: state === "closed",
    }));
}
