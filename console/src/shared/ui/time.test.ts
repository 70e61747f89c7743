import { describe, expect, it } from "vitest";

import { clockTime, durationWords, etaWords, money, stopwatch } from "./time";

describe("durationWords", () => {
  it.each([
    [-5, "0 s"],
    [999, "0 s"],
    [59_999, "59 s"],
    [60_000, "1 min"],
    [3_599_999, "59 min"],
    [3_900_000, "1 h 05 min"],
    [90_000_000, "1 d"],
  ])("says %d ms as %s", (ms, words) => expect(durationWords(ms)).toBe(words));
});

describe("stopwatch", () => {
  it.each([
    [0, "0:00"],
    [42_900, "0:42"],
    [725_000, "12:05"],
    [3_725_000, "1:02:05"],
  ])("shows %d ms as %s", (ms, words) => expect(stopwatch(ms)).toBe(words));
});

describe("etaWords", () => {
  it.each([
    [0, 30, "0–1 min"],
    [245, 400, "4–7 min"],
    [60, 60, "1 min"],
  ])("says %d to %d seconds as %s", (low, high, words) => expect(etaWords(low, high)).toBe(words));
});

it("writes money in its own minor units", () => {
  expect(money(4550, "EUR")).toBe("€45.50");
  expect(money(4550, "JPY")).toBe("JP¥4,550");
});

it("shows the time of the place, not of the browser", () => {
  expect(clockTime("2026-07-01T10:00:00Z", "Europe/Lisbon")).toBe("11:00:00");
});
