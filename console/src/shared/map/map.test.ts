import { describe, expect, it } from "vitest";

import type { WorkerDot } from "../protocol/frames";
import { graticule } from "./graticule";
import { distanceM, fromMercator, latLngWords, mercatorX, mercatorY, metresPerPx, scaleBar } from "./mercator";
import { WorkerField } from "./workerField";

describe("mercator", () => {
  it.each([
    [0, 0],
    [41.15, -8.61],
    [-33.9, 151.2],
    [84.9, 179.9],
  ])("comes back from %d, %d", (lat, lng) => {
    const back = fromMercator({ x: mercatorX(lng), y: mercatorY(lat) });
    expect(back.lat).toBeCloseTo(lat, 9);
    expect(back.lng).toBeCloseTo(lng, 9);
  });

  it("keeps a metre apart in single precision when counted from a local origin", () => {
    const origin = mercatorX(-8.61);
    const metre = 1 / 83_600;
    const a = Math.fround(mercatorX(-8.65) - origin);
    const b = Math.fround(mercatorX(-8.65 + metre) - origin);
    expect((b - a) * 360 * 83_600).toBeCloseTo(1, 1);
    expect(Math.fround(mercatorX(-8.65 + metre / 4))).toBe(Math.fround(mercatorX(-8.65)));
  });

  it("knows lengths on the ground", () => {
    expect(metresPerPx(0, 0)).toBeCloseTo(78_271.5, 0);
    expect(scaleBar(41.15, 14, 120)).toMatchObject({ label: "200 m" });
    expect(scaleBar(41.15, 10, 120)).toMatchObject({ label: "5 km" });
    expect(distanceM({ lat: 41.15, lng: -8.61 }, { lat: 41.16, lng: -8.61 })).toBeCloseTo(1112, 0);
  });

  it("writes coordinates in words", () => {
    expect(latLngWords({ lat: 41.15, lng: -8.61 })).toBe("41.15000° N, 8.61000° W");
  });
});

describe("graticule", () => {
  it.each([
    [[-8.7, 41.1, -8.5, 41.2]],
    [[-180, -80, 180, 80]],
    [[-8.6101, 41.15, -8.6099, 41.1501]],
  ] as const)("covers %j with a readable number of lines", (bbox) => {
    const lines = graticule(bbox);
    expect(lines.length).toBeLessThan(60);
    for (const { from, to } of lines) {
      expect(from[0]).toBeGreaterThanOrEqual(bbox[0] - 1e-9);
      expect(to[1]).toBeLessThanOrEqual(bbox[3] + 1e-9);
    }
  });
});

describe("WorkerField", () => {
  const dot = (slot: number, lat: number, status: WorkerDot["status"] = "free"): WorkerDot => ({
    slot,
    lat,
    lng: -8.61,
    tsMs: 1,
    headingDeg: null,
    status,
    batteryPct: null,
  });

  it("adds, moves, forgets, and counts", () => {
    const field = new WorkerField();
    field.apply({ kind: "workers", atMs: 1, full: true, rows: [dot(1, 41.15), dot(2, 41.16, "busy")], gone: [] }, 1000);
    field.apply({ kind: "workers", atMs: 2, full: false, rows: [dot(1, 41.1501)], gone: [2] }, 2000);
    expect([...field.dots.keys()]).toEqual([1]);
    expect(field.movedTotal).toBe(1);
    expect(field.trailCount).toBe(1);
    expect(field.atMs).toBe(2);
    expect(field.countByStatus()).toEqual({ free: 1, offered: 0, busy: 0, silent: 0, tracked: 0 });
  });

  it("forgets everybody else at a full frame but still sees who moved", () => {
    const field = new WorkerField();
    field.apply({ kind: "workers", atMs: 1, full: true, rows: [dot(1, 41.15), dot(2, 41.16)], gone: [] }, 1000);
    field.apply({ kind: "workers", atMs: 2, full: true, rows: [dot(1, 41.1502)], gone: [] }, 2000);
    expect([...field.dots.keys()]).toEqual([1]);
    expect(field.movedTotal).toBe(1);
  });

  it("draws no path for a worker who reappeared far away, and bounds the paths it keeps", () => {
    const field = new WorkerField();
    field.apply({ kind: "workers", atMs: 1, full: true, rows: [dot(1, 41.15)], gone: [] }, 1000);
    field.apply({ kind: "workers", atMs: 2, full: false, rows: [dot(1, 41.3)], gone: [] }, 1000);
    expect([field.movedTotal, field.trailCount]).toEqual([1, 0]);
    for (let n = 0; n < 49_000; n += 1) {
      field.apply({ kind: "workers", atMs: n, full: false, rows: [dot(1, 41.3 + (n % 2) / 10_000)], gone: [] }, n);
    }
    expect(field.trailCount).toBe(48_000);
  });
});
