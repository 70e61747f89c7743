import { describe, expect, it } from "vitest";

import { encodeFixes, parseMapFrame } from "./frames";

function workerRow(slot: number, latE7: number, lngE7: number, tsMs: bigint, heading: number, status: number, battery: number) {
  const view = new DataView(new ArrayBuffer(24));
  view.setUint32(0, slot, true);
  view.setInt32(4, latE7, true);
  view.setInt32(8, lngE7, true);
  view.setBigInt64(12, tsMs, true);
  view.setUint16(20, heading, true);
  view.setUint8(22, status);
  view.setUint8(23, battery);
  return new Uint8Array(view.buffer);
}

describe("encodeFixes", () => {
  it("writes the 24-byte record of the protocol, little-endian", () => {
    const bytes = encodeFixes([
      { tsMs: 1_700_000_000_123, lat: 41.15, lng: -8.61, accuracyM: 4.2, speedMps: 12.5, headingDeg: 359.99, batteryPct: 80, isCharging: true },
    ]);
    const view = new DataView(bytes.buffer);
    expect(bytes.length).toBe(24);
    expect(view.getBigInt64(0, true)).toBe(1_700_000_000_123n);
    expect(view.getInt32(8, true)).toBe(411_500_000);
    expect(view.getInt32(12, true)).toBe(-86_100_000);
    expect([view.getUint16(16, true), view.getUint16(18, true), view.getUint16(20, true)]).toEqual([42, 1250, 35999]);
    expect([view.getUint8(22), view.getUint8(23)]).toEqual([80, 1]);
  });

  it("says unknown for what the device does not know, and never overflows", () => {
    const view = new DataView(encodeFixes([{ tsMs: 1, lat: 0, lng: 0, speedMps: Number.NaN, headingDeg: -1, accuracyM: 1e9 }]).buffer);
    expect(view.getUint16(16, true)).toBe(65534);
    expect(view.getUint16(18, true)).toBe(65535);
    expect(view.getUint16(20, true)).toBe(65535);
    expect(view.getUint8(22)).toBe(255);
  });

  it("packs several fixes one after the other", () => {
    const view = new DataView(encodeFixes([{ tsMs: 1, lat: 1, lng: 2 }, { tsMs: 2, lat: 3, lng: 4 }]).buffer);
    expect(view.byteLength).toBe(48);
    expect(view.getInt32(32, true)).toBe(30_000_000);
  });
});

describe("parseMapFrame", () => {
  it("reads workers from a view that does not start at byte 0 of its buffer, as msgpack hands them out", () => {
    const row = workerRow(7, 411_500_001, -86_100_002, 1_700_000_000_123n, 9000, 2, 255);
    const padded = new Uint8Array(24 + 3);
    padded.set(row, 3);
    const frame = parseMapFrame({ kind: "workers", at_ms: 5, full: true, rows: padded.subarray(3), gone: new Uint8Array([9, 0, 0, 0]) });
    expect(frame).toEqual({
      kind: "workers",
      atMs: 5,
      full: true,
      gone: [9],
      rows: [{ slot: 7, lat: 41.1500001, lng: -8.6100002, tsMs: 1_700_000_000_123, headingDeg: 90, status: "busy", batteryPct: null }],
    });
  });

  it("tells who is tracked off duty, because of an alarm, from who is silent", () => {
    const status = (code: number): string | null => {
      const frame = parseMapFrame({ kind: "workers", at_ms: 5, full: true, rows: workerRow(7, 0, 0, 0n, 65535, code, 12), gone: new Uint8Array() });
      return frame?.kind === "workers" ? (frame.rows[0]?.status ?? null) : null;
    };
    expect([status(3), status(4)]).toEqual(["silent", "tracked"]);
  });

  it("shows a status it does not know as silent, and an unknown heading as null", () => {
    const frame = parseMapFrame({ kind: "workers", at_ms: 5, full: false, rows: workerRow(1, 0, 0, 1n, 65535, 200, 12), gone: new Uint8Array() });
    expect(frame?.kind === "workers" && frame.rows[0]).toMatchObject({ status: "silent", headingDeg: null, batteryPct: 12 });
  });

  it("reads cells with their H3 index in hexadecimal", () => {
    const view = new DataView(new ArrayBuffer(16));
    view.setBigUint64(0, 0x88392218d5fffffn, true);
    view.setUint32(8, 12, true);
    view.setUint32(12, 5, true);
    expect(parseMapFrame({ kind: "cells", at_ms: 1, cells: new Uint8Array(view.buffer) })).toEqual({
      kind: "cells",
      atMs: 1,
      cells: [{ h3: "88392218d5fffff", workers: 12, busy: 5 }],
    });
  });

  it.each([
    null,
    "text",
    {},
    { kind: "workers", at_ms: 1, rows: new Uint8Array(23), gone: new Uint8Array() },
    { kind: "workers", at_ms: 1, rows: new Uint8Array(24), gone: new Uint8Array(3) },
    { kind: "workers", at_ms: "soon", rows: new Uint8Array(), gone: new Uint8Array() },
    { kind: "cells", at_ms: 1, cells: [1, 2] },
    { kind: "planets", at_ms: 1 },
  ])("refuses %j", (message) => {
    expect(parseMapFrame(message)).toBeNull();
  });
});
