import { afterEach, beforeEach, expect, test, vi } from "vitest";

import { offline, Problem } from "../shared/protocol/problem";
import { EVERY_MS, tokenOf, TripFollower, type SharedTrip } from "./sharedTrip";

const TOKEN = "A".repeat(43);
const TRIP: SharedTrip = { state: "en_route", service_name: "Cleaning", worker_name: "Wim", position: null, tz: "Europe/Lisbon", expires_at: "2026-01-01T00:00:00Z" };

beforeEach(() => {
  vi.useFakeTimers();
});

afterEach(() => {
  vi.useRealTimers();
});

test("a token stands behind the hash, whole", () => {
  expect(tokenOf(`#${TOKEN}`)).toBe(TOKEN);
  for (const hash of ["", "#", "#short", `#${TOKEN}A`, `#${TOKEN}&x`]) expect(tokenOf(hash)).toBeNull();
});

test("what was read stays while nobody answers, and is over when the server says so", async () => {
  const answers = [() => Promise.resolve(TRIP), () => Promise.reject(offline("Nobody answers.")), () => Promise.reject(new Problem(404, "not_found", "No."))];
  const follower = new TripFollower(TOKEN, () => (answers.shift() ?? expect.unreachable("it is over"))());
  follower.start();
  await vi.advanceTimersByTimeAsync(0);
  expect(follower.state.getState()).toEqual({ phase: "shown", trip: TRIP, problem: null });
  await vi.advanceTimersByTimeAsync(EVERY_MS);
  expect(follower.state.getState()).toEqual({ phase: "shown", trip: TRIP, problem: "Nobody answers." });
  await vi.advanceTimersByTimeAsync(EVERY_MS);
  expect(follower.state.getState().phase).toBe("over");
  await vi.advanceTimersByTimeAsync(10 * EVERY_MS);
});

test("who leaves asks no more", async () => {
  let asked = 0;
  const follower = new TripFollower(TOKEN, () => {
    asked += 1;
    return Promise.resolve(TRIP);
  });
  follower.start();
  await vi.advanceTimersByTimeAsync(EVERY_MS);
  follower.stop();
  await vi.advanceTimersByTimeAsync(10 * EVERY_MS);
  expect(asked).toBe(2);
});
