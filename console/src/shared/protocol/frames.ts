/**
 * Binary records of docs/protocol.md: fixes that phones send, map frames that the console gets.
 * Pure; little-endian whatever the machine is.
 */

import type { TriggerBody, TriggerKind } from "./types";

export const FIX_BYTES = 24;
export const WORKER_ROW_BYTES = 24;
export const CELL_ROW_BYTES = 16;
export const FIXES_PER_FRAME_MAX = 50;

const UNKNOWN_U16 = 0xffff;
const UNKNOWN_U8 = 0xff;
const DEG_E7 = 1e7;

/** A measured position as a phone knows it; `undefined` where the device does not say. */
export interface Fix {
  readonly tsMs: number;
  readonly lat: number;
  readonly lng: number;
  readonly accuracyM?: number | undefined;
  readonly speedMps?: number | undefined;
  readonly headingDeg?: number | undefined;
  readonly batteryPct?: number | undefined;
  readonly isCharging?: boolean | undefined;
}

/** Encode fixes as 24-byte records. Unknown or impossible figures become the protocol's "unknown". */
export function encodeFixes(fixes: readonly Fix[]): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(fixes.length * FIX_BYTES);
  const view = new DataView(bytes.buffer);
  fixes.forEach((fix, index) => {
    const at = index * FIX_BYTES;
    view.setBigInt64(at, BigInt(Math.round(fix.tsMs)), true);
    view.setInt32(at + 8, Math.round(fix.lat * DEG_E7), true);
    view.setInt32(at + 12, Math.round(fix.lng * DEG_E7), true);
    view.setUint16(at + 16, scaled(fix.accuracyM, 10), true);
    view.setUint16(at + 18, scaled(fix.speedMps, 100), true);
    view.setUint16(at + 20, scaled(fix.headingDeg, 100), true);
    view.setUint8(at + 22, fix.batteryPct === undefined ? UNKNOWN_U8 : Math.round(fix.batteryPct));
    view.setUint8(at + 23, fix.isCharging === true ? 1 : 0);
  });
  return bytes;
}

const PING_MAGIC = 0xc1;
const TRIGGER_MAGIC = 0xc0;
const HEAD_BYTES = 9;
const TRIGGER_BYTES = 48;
/** In the order of the wire's kind byte. */
const TRIGGER_KINDS: readonly TriggerKind[] = ["button", "hold", "gesture", "duress_pin", "drill"];

/** Fixes as one message beside all events, number and all. `fixes`: whole records. */
export function pingFrame(seq: number, fixes: Uint8Array): Uint8Array<ArrayBuffer> {
  return framed(PING_MAGIC, seq, fixes);
}

/** A silent trigger, of the size of a ping of two fixes. The server knows by itself which job it is about. */
export function triggerFrame(seq: number, { trigger_id, kind, fix }: TriggerBody): Uint8Array<ArrayBuffer> {
  const body = new Uint8Array(TRIGGER_BYTES);
  if (fix) body.set(encodeFixes([{ tsMs: fix.ts_ms, lat: fix.lat, lng: fix.lng, accuracyM: fix.accuracy_m }]));
  const id = trigger_id.replaceAll("-", "");
  for (let at = 0; at < 16; at += 1) body[FIX_BYTES + at] = Number.parseInt(id.slice(at * 2, at * 2 + 2), 16);
  body[FIX_BYTES + 16] = TRIGGER_KINDS.indexOf(kind);
  return framed(TRIGGER_MAGIC, seq, body);
}

function framed(magic: number, seq: number, body: Uint8Array): Uint8Array<ArrayBuffer> {
  const frame = new Uint8Array(HEAD_BYTES + body.length);
  frame[0] = magic;
  new DataView(frame.buffer).setBigUint64(1, BigInt(seq), true);
  frame.set(body, HEAD_BYTES);
  return frame;
}

function scaled(value: number | undefined, factor: number): number {
  if (value === undefined || !Number.isFinite(value) || value < 0) return UNKNOWN_U16;
  return Math.min(UNKNOWN_U16 - 1, Math.round(value * factor));
}

/** In the order of the wire's status byte; `tracked` is off duty and on the map only because of an open alarm. */
export const WORKER_STATUSES = ["free", "offered", "busy", "silent", "tracked"] as const;
export type WorkerStatus = (typeof WORKER_STATUSES)[number];

/** One worker of a map frame. */
export interface WorkerDot {
  readonly slot: number;
  readonly lat: number;
  readonly lng: number;
  readonly tsMs: number;
  /** Degrees clockwise from north, null when the device does not say. */
  readonly headingDeg: number | null;
  readonly status: WorkerStatus;
  readonly batteryPct: number | null;
}

/** Workers in one H3 cell; `h3` is the index in lower-case hexadecimal. */
export interface CellCount {
  readonly h3: string;
  readonly workers: number;
  readonly busy: number;
}

export type MapFrame =
  | {
      readonly kind: "workers";
      readonly atMs: number;
      readonly full: boolean;
      readonly rows: readonly WorkerDot[];
      readonly gone: readonly number[];
    }
  | { readonly kind: "cells"; readonly atMs: number; readonly cells: readonly CellCount[] };

/** Read a decoded MessagePack map as a map frame, or null when it is none: a wrong frame must not stop the desk. */
export function parseMapFrame(message: unknown): MapFrame | null {
  if (typeof message !== "object" || message === null) return null;
  const frame = message as Record<string, unknown>;
  const atMs = Number(frame.at_ms);
  if (!Number.isFinite(atMs)) return null;
  if (frame.kind === "workers") {
    const rows = decodeWorkerRows(frame.rows);
    const gone = decodeSlots(frame.gone);
    return rows && gone && { kind: "workers", atMs, full: frame.full === true, rows, gone };
  }
  if (frame.kind === "cells") {
    const cells = decodeCells(frame.cells);
    return cells && { kind: "cells", atMs, cells };
  }
  return null;
}

function rowsOf(value: unknown, rowBytes: number): DataView | null {
  if (!(value instanceof Uint8Array) || value.byteLength % rowBytes !== 0) return null;
  return new DataView(value.buffer, value.byteOffset, value.byteLength);
}

function decodeWorkerRows(value: unknown): WorkerDot[] | null {
  const view = rowsOf(value, WORKER_ROW_BYTES);
  if (!view) return null;
  const dots: WorkerDot[] = [];
  for (let at = 0; at < view.byteLength; at += WORKER_ROW_BYTES) {
    const heading = view.getUint16(at + 20, true);
    const battery = view.getUint8(at + 23);
    dots.push({
      slot: view.getUint32(at, true),
      lat: view.getInt32(at + 4, true) / DEG_E7,
      lng: view.getInt32(at + 8, true) / DEG_E7,
      tsMs: Number(view.getBigInt64(at + 12, true)),
      headingDeg: heading === UNKNOWN_U16 ? null : heading / 100,
      status: WORKER_STATUSES[view.getUint8(at + 22)] ?? "silent",
      batteryPct: battery === UNKNOWN_U8 ? null : battery,
    });
  }
  return dots;
}

function decodeSlots(value: unknown): number[] | null {
  const view = rowsOf(value, 4);
  if (!view) return null;
  const slots: number[] = [];
  for (let at = 0; at < view.byteLength; at += 4) slots.push(view.getUint32(at, true));
  return slots;
}

function decodeCells(value: unknown): CellCount[] | null {
  const view = rowsOf(value, CELL_ROW_BYTES);
  if (!view) return null;
  const cells: CellCount[] = [];
  for (let at = 0; at < view.byteLength; at += CELL_ROW_BYTES) {
    cells.push({
      h3: view.getBigUint64(at, true).toString(16),
      workers: view.getUint32(at + 8, true),
      busy: view.getUint32(at + 12, true),
    });
  }
  return cells;
}
