import { createStore, type StoreApi } from "zustand/vanilla";

import { BOOKING_STATES, type Booking, type BookingState, type Page } from "../../shared/protocol/types";
import { ENDED_STATES } from "../../shared/ui/states";

/** Bookings kept on the page; beyond it those that ended longest ago are forgotten first. */
export const BOOKINGS_MAX = 2_000;

export interface Bookings {
  readonly byId: ReadonlyMap<string, Booking>;
  /** Where the next page of the list begins; null when all of it is here. */
  readonly nextCursor: string | null;
  /** When a list was last read, Unix ms; null before the first. */
  readonly loadedAtMs: number | null;
  readonly problem: string | null;
}

export type BookingsStore = StoreApi<Bookings>;

export function createBookingsStore(): BookingsStore {
  return createStore(() => ({ byId: new Map<string, Booking>(), nextCursor: null, loadedAtMs: null, problem: null }));
}

/** Take bookings in. The higher version wins: events and lists may arrive in any order. */
export function mergeBookings(
  byId: ReadonlyMap<string, Booking>,
  bookings: readonly Booking[],
  limit = BOOKINGS_MAX,
): ReadonlyMap<string, Booking> {
  const merged = new Map(byId);
  for (const booking of bookings) {
    const known = merged.get(booking.booking_id);
    if (known && known.version > booking.version) continue;
    // An event carries no history; what a detail request brought must not get lost with it.
    const events = booking.events ?? (known?.version === booking.version ? known.events : undefined);
    merged.set(booking.booking_id, events ? { ...booking, events } : booking);
  }
  return merged.size > limit ? forgetOldest(merged, limit) : merged;
}

function forgetOldest(byId: Map<string, Booking>, limit: number): Map<string, Booking> {
  const ended = [...byId.values()].filter((booking) => ENDED_STATES.has(booking.state));
  ended.sort((a, b) => a.updated_at.localeCompare(b.updated_at));
  for (const booking of ended.slice(0, byId.size - limit)) byId.delete(booking.booking_id);
  return byId;
}

export function takePage(state: Bookings, page: Page<Booking>, nowMs: number, isFirst: boolean): Bookings {
  return {
    byId: mergeBookings(state.byId, page.items),
    // A first page read again after a lost connection must not rewind what was paged in before.
    nextCursor: isFirst && state.loadedAtMs !== null ? state.nextCursor : page.next_cursor,
    loadedAtMs: nowMs,
    problem: null,
  };
}

export interface BookingFilter {
  readonly states: ReadonlySet<BookingState>;
  readonly search: string;
}

/** The board's rows: newest change first. An empty set of states means all. */
export function boardRows(byId: ReadonlyMap<string, Booking>, filter: BookingFilter): Booking[] {
  const words = filter.search.toLowerCase().split(/\s+/).filter(Boolean);
  const rows = [...byId.values()].filter((booking) => {
    if (filter.states.size > 0 && !filter.states.has(booking.state)) return false;
    if (words.length === 0) return true;
    const text = searchText(booking);
    return words.every((word) => text.includes(word));
  });
  return rows.sort((a, b) => b.updated_at.localeCompare(a.updated_at));
}

function searchText(booking: Booking): string {
  return [booking.booking_id, booking.service_name, booking.address.line, booking.customer?.name, booking.worker?.name, booking.state]
    .filter(Boolean)
    .join(" ")
    .toLowerCase();
}

export function countByState(byId: ReadonlyMap<string, Booking>): Record<BookingState, number> {
  const counts = Object.fromEntries(BOOKING_STATES.map((state) => [state, 0])) as Record<BookingState, number>;
  for (const booking of byId.values()) counts[booking.state] += 1;
  return counts;
}
