import { describe, expect, it } from "vitest";

import type { Booking, BookingState, Incident, ZoneEvent } from "../shared/protocol/types";
import { boardRows, countByState, createBookingsStore, mergeBookings, takePage } from "./bookings/bookingsStore";
import { parseDecisions } from "./bookings/why";
import { incidentQueue, mergeIncidents, missingFrom, openAlarms } from "./incidents/incidentsStore";
import { closingReason } from "./incidents/words";
import { linkHealth } from "./links/linkHealth";
import { hashOf, parseHash, type Panel } from "./route";
import { isOutdated, newerEvent, shapesOf, zoneWords } from "./zones/zonesStore";

function booking(id: string, version: number, state: BookingState = "searching", extra: Partial<Booking> = {}): Booking {
  return {
    booking_id: id,
    state,
    version,
    service_code: "cleaning",
    service_name: "Cleaning",
    pin: { lat: 41.15, lng: -8.61 },
    address: { line: "Rua do Almada 12" },
    worker: null,
    eta_s: null,
    tz: "Europe/Lisbon",
    created_at: "2026-01-01T00:00:00Z",
    updated_at: `2026-01-01T00:00:${String(version).padStart(2, "0")}Z`,
    actual_start: null,
    actual_end: null,
    ...extra,
  };
}

function incident(id: string, version: number, extra: Partial<Incident> = {}): Incident {
  return {
    incident_id: id,
    person: { person_id: "p", name: "Ana", role: "worker" },
    booking_id: null,
    kind: "hold",
    is_drill: false,
    trust: "verified",
    state: "open",
    version,
    severity: 1,
    step: 1,
    next_step_at: null,
    fix: null,
    address: null,
    opened_at: "2026-01-01T00:00:00Z",
    acknowledged_at: null,
    acknowledged_by: null,
    closed_at: null,
    close_reason: null,
    says_safe_at: null,
    police_reference: null,
    is_false_alarm: false,
    ...extra,
  };
}

function zoneEvent(id: number, extra: Partial<ZoneEvent> = {}): ZoneEvent {
  return {
    event_id: id,
    kind: "enter",
    reason: "moved",
    zone_id: "z",
    zone_kind: "site",
    zone_name: "Depot",
    worker_id: "w",
    slot: 7,
    at: "2026-01-01T00:00:00Z",
    detected_at: "2026-01-01T00:00:00Z",
    ...extra,
  };
}

describe("zones", () => {
  const ring: readonly (readonly [number, number])[] = [[-8.61, 41.15], [-8.6, 41.15], [-8.6, 41.16], [-8.61, 41.15]];
  const feature = (id: string, active: boolean) => ({ id, geometry: { coordinates: [[ring]] }, properties: { name: "Depot", kind: "site" as const, active } });

  it("draws those that are active", () => {
    expect(shapesOf([feature("z", true), feature("off", false)])).toEqual([{ id: "z", name: "Depot", kind: "site", polygons: [[ring]] }]);
  });

  it("keeps the event with the higher number, in whatever order they come", () => {
    expect(newerEvent(newerEvent(null, zoneEvent(2)), zoneEvent(1)).event_id).toBe(2);
  });

  it("knows when zones have to be read again", () => {
    const shapes = shapesOf([feature("z", true)]);
    expect(isOutdated(shapes, zoneEvent(1))).toBe(false);
    expect(isOutdated(shapes, zoneEvent(1, { reason: "zone_changed" }))).toBe(true);
    expect(isOutdated(shapes, zoneEvent(1, { zone_id: "new" }))).toBe(true);
  });

  it("says what happened and why", () => {
    expect(zoneWords(zoneEvent(1), "Ana")).toBe("Ana entered Depot");
    expect(zoneWords(zoneEvent(2, { kind: "exit", reason: "off_duty" }), "Ana")).toBe("Ana left Depot (off duty)");
  });
});

const EMPTY = new Map<string, Booking>();

describe("bookings", () => {
  it("lets the higher version win, in whatever order they arrive", () => {
    const late = mergeBookings(mergeBookings(EMPTY, [booking("a", 3, "assigned")]), [booking("a", 2, "offered")]);
    expect(late.get("a")?.state).toBe("assigned");
  });

  it("keeps a booking's history when the same version comes again without it", () => {
    const events = [{ version: 1, from: null, to: "searching" as const, actor_role: null, reason: null, at: "2026-01-01T00:00:00Z" }];
    const merged = mergeBookings(mergeBookings(EMPTY, [booking("a", 1, "searching", { events })]), [booking("a", 1)]);
    expect(merged.get("a")?.events).toEqual(events);
    expect(mergeBookings(merged, [booking("a", 2)]).get("a")?.events).toBeUndefined();
  });

  it("forgets only what has ended, the oldest first", () => {
    const many = [booking("old", 1, "confirmed"), booking("new", 2, "confirmed"), booking("open", 0, "searching")];
    expect([...mergeBookings(EMPTY, many, 2).keys()].sort()).toEqual(["new", "open"]);
  });

  it("does not rewind the pages when the first is read again", () => {
    const store = createBookingsStore().getState();
    const first = takePage(store, { items: [booking("a", 1)], next_cursor: "two" }, 1, true);
    const second = takePage(first, { items: [booking("b", 1)], next_cursor: null }, 2, false);
    const again = takePage(second, { items: [booking("c", 1)], next_cursor: "two" }, 3, true);
    expect(again.nextCursor).toBeNull();
    expect(again.byId.size).toBe(3);
  });

  it("filters by state and by every word, newest change first", () => {
    const byId = mergeBookings(EMPTY, [
      booking("a", 1, "searching"),
      booking("b", 2, "assigned", { customer: { person_id: "c", name: "Rui Costa" } }),
      booking("c", 3, "assigned"),
    ]);
    const all = { states: new Set<BookingState>(), search: "" };
    expect(boardRows(byId, all).map((row) => row.booking_id)).toEqual(["c", "b", "a"]);
    expect(boardRows(byId, { ...all, states: new Set(["assigned"]) })).toHaveLength(2);
    expect(boardRows(byId, { ...all, search: "almada COSTA" }).map((row) => row.booking_id)).toEqual(["b"]);
    expect(countByState(byId)).toMatchObject({ searching: 1, assigned: 2, confirmed: 0 });
  });
});

describe("incidents", () => {
  it("takes the same version by two roads once, and ignores a late one", () => {
    const first = mergeIncidents(new Map(), [incident("i", 2, { state: "acknowledged" })]);
    expect(mergeIncidents(first, [incident("i", 2)])).toBe(first);
    expect(mergeIncidents(first, [incident("i", 1)]).get("i")?.state).toBe("acknowledged");
    expect(mergeIncidents(first, [incident("i", 4, { state: "closed" }), incident("i", 3)]).get("i")?.version).toBe(4);
  });

  it("queues by urgency: open, real, furthest escalated, longest waiting", () => {
    const queue = incidentQueue(
      mergeIncidents(new Map(), [
        incident("closed", 1, { state: "closed" }),
        incident("acknowledged", 1, { state: "acknowledged", step: 3 }),
        incident("drill", 1, { is_drill: true, step: 3 }),
        incident("young", 1, { opened_at: "2026-01-01T00:01:00Z" }),
        incident("old", 1),
        incident("escalated", 1, { step: 2, opened_at: "2026-01-01T00:02:00Z" }),
      ]),
    );
    expect(queue.map((each) => each.incident_id)).toEqual(["escalated", "old", "young", "drill", "acknowledged", "closed"]);
  });

  it("sees what was closed while nobody told", () => {
    const byId = mergeIncidents(new Map(), [incident("a", 1), incident("b", 1), incident("c", 1, { state: "closed" })]);
    expect(missingFrom(byId, [incident("a", 1)])).toEqual(["b"]);
    expect(openAlarms(byId)).toHaveLength(2);
  });
});

describe("closingReason", () => {
  it("says once that a human has looked", () => {
    expect(closingReason(" all well ", false)).toBe("all well");
    expect(closingReason("all well", true)).toBe("Reviewed: all well");
    expect(closingReason("reviewed, all well", true)).toBe("reviewed, all well");
  });
});

describe("parseDecisions", () => {
  it("reads who could go with the terms of their cost, and who was excluded by which rule", () => {
    const [decision] = parseDecisions({
      items: [
        {
          dispatch_id: 7,
          outcome: "offered",
          took_us: 812,
          at: "2026-01-01T00:00:00Z",
          record: "kept",
          policy: { label: "standard@1" },
          plan: { mode: "window", bookings: 3 },
          looked_at: 40,
          ruled_out: { safety_hold: 12, silent: 0 },
          ranked: [
            { worker_id: "w1", slot: 88, name: "Ada", answer: "open", cost_min: 4.25, eta_s: 240, distance_m: 900, terms: { eta: 4, fix_age: 0.25, risk: 0 }, against_first: {}, needed: null },
            { worker_id: "w2", slot: 89, name: null, answer: null, cost_min: 6.5, eta_s: 300, terms: {}, against_first: { eta: 2.25 }, needed: "to cost 2.25 min less" },
          ],
          near_losers: [{ worker_id: "w3", slot: 90, name: "Bo", rules: ["busy", "off_duty"], place_without_rules: 1, needed: "to be free" }],
        },
      ],
    });
    expect(decision).toMatchObject({ key: "7", outcome: "offered", tookUs: 812, lookedAt: 40, policy: "standard@1", together: 2, isDamaged: false });
    expect(decision?.candidates[0]).toMatchObject({ key: "w1", slot: 88, name: "Ada", answer: "open", cost: 4.25, etaS: 240, terms: [{ name: "eta", value: 4 }, { name: "fix age", value: 0.25 }] });
    expect(decision?.candidates[1]).toMatchObject({ answer: null, against: [{ name: "eta", value: 2.25 }], needed: "to cost 2.25 min less" });
    expect(decision?.nearLosers).toMatchObject([{ key: "w3", rules: ["busy", "off duty"], placeWithout: 1, needed: "to be free" }]);
    expect(decision?.ruledOut).toEqual([{ reason: "safety hold", count: 12 }]);
  });

  it.each([null, [], {}, { items: [null, 3] }])("survives %j", (body) => {
    expect(() => parseDecisions(body)).not.toThrow();
  });
});

describe("linkHealth", () => {
  it.each([
    ["lost", 1_000, 1_001, "lost"],
    ["connecting", null, 1_000, "connecting"],
    ["live", null, 1_000, "connecting"],
    ["live", 1_000, 3_400, "live"],
    ["live", 1_000, 3_401, "quiet"],
  ] as const)("says of %s, heard at %s, now %d: %s", (state, heard, now, health) => {
    expect(linkHealth(state, heard, now)).toBe(health);
  });
});

describe("route", () => {
  const panels: Panel[] = [{ name: "map" }, { name: "bookings" }, { name: "booking", id: "b1" }, { name: "incidents" }, { name: "incident", id: "i1" }, { name: "workers" }, { name: "worker", slot: 12 }];
  it.each(panels)("goes there and back: %j", (panel) => expect(parseHash(hashOf(panel))).toEqual(panel));
  it.each(["", "#/nowhere", "#/workers/abc", "#"])("falls back from %j", (hash) => {
    expect(["map", "workers"]).toContain(parseHash(hash).name);
  });
});
