import { expect, test } from "vitest";

import type { Incident } from "../../shared/protocol/types";
import { lastDrills, planOf, planWords } from "./drillPlan";

function form(fields: readonly (readonly [string, string])[]): FormData {
  const made = new FormData();
  for (const [name, value] of fields) made.append(name, value);
  return made;
}

test("a form is a plan: days in the order of the week, times as they are written", () => {
  const filled = form([["every_h", "48"], ["days", "thu"], ["days", "mon"], ["at", "10:30, 22:15"], ["tz", " Europe/Lisbon "]]);
  expect(planOf(filled, "UTC")).toEqual({ every_h: 48, weekly: { tz: "Europe/Lisbon", days: ["mon", "thu"], at: ["10:30", "22:15"] } });
  expect(planOf(form([["every_h", ""], ["at", "10:30"], ["tz", ""]]), "UTC")).toEqual({ every_h: null, weekly: null });
  expect(planOf(form([["days", "sun"], ["at", ""]]), "UTC")).toEqual({ every_h: null, weekly: { tz: "UTC", days: ["sun"], at: [] } });
});

test("a plan says both ways", () => {
  expect(planWords({ every_h: null, weekly: null, next_at: null })).toEqual([]);
  expect(planWords({ every_h: 24, weekly: { tz: "Europe/Lisbon", days: ["mon", "sun"], at: ["08:00"] }, next_at: null })).toEqual([
    "One begins every 24 h.",
    "One begins on Mon, Sun at 08:00 (Europe/Lisbon).",
  ]);
});

test("results are of drills alone, newest first", () => {
  const one = (id: string, changes: Partial<Incident>): Incident =>
    ({ incident_id: id, is_drill: true, opened_at: "2026-01-01T00:00:00Z", acknowledged_at: null, state: "open", ...changes }) as Incident;
  const found = lastDrills(
    [
      one("old", { acknowledged_at: "2026-01-01T00:00:07Z", state: "closed" }),
      one("real", { is_drill: false }),
      one("new", { opened_at: "2026-01-02T00:00:00Z" }),
    ],
    2,
  );
  expect(found).toEqual([
    { incidentId: "new", openedAt: "2026-01-02T00:00:00Z", answeredAfterS: null, isClosed: false },
    { incidentId: "old", openedAt: "2026-01-01T00:00:00Z", answeredAfterS: 7, isClosed: true },
  ]);
});
