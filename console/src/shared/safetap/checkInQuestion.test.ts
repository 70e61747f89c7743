import { describe, expect, it } from "vitest";

import { CheckInQuestion, type QuestionPorts } from "./checkInQuestion";
import type { WatchedJob } from "./privacyClient";

const job = (is_due: boolean): WatchedJob => ({ booking_id: "b", service_name: "Cleaning", is_due, answer_by: null, next_check_in_at: null, needs_pin: false });

function setUp(answers: (readonly WatchedJob[] | "down")[]) {
  const listeners = new Map<string, () => void>();
  const ports: QuestionPorts = {
    on: (event, listener) => {
      listeners.set(event, listener);
      return () => listeners.delete(event);
    },
    watchedJobs: () => {
      const answer = answers.shift() ?? "down";
      return answer === "down" ? Promise.reject(new Error("down")) : Promise.resolve(answer);
    },
  };
  const question = new CheckInQuestion(ports);
  return { question, listeners, isAsked: () => question.store.getState().isAsked };
}

const settled = (): Promise<void> => new Promise((resume) => setTimeout(resume));

describe("CheckInQuestion", () => {
  it("is asked by the event, and no more once an answer was taken", async () => {
    const { question, listeners, isAsked } = setUp([[]]);
    question.start();
    await settled();
    expect(isAsked()).toBe(false);
    listeners.get("check.in")?.();
    expect(isAsked()).toBe(true);
    question.take([job(false)]);
    expect(isAsked()).toBe(false);
  });

  it("finds a question that came while the page was closed or cut off", async () => {
    const { question, listeners, isAsked } = setUp([[job(true)], [], [job(true)]]);
    question.start();
    await settled();
    expect(isAsked()).toBe(true);
    listeners.get("welcome")?.();
    await settled();
    expect(isAsked()).toBe(false);
    listeners.get("welcome")?.();
    await settled();
    expect(isAsked()).toBe(true);
  });

  it("stands while nobody answers, and hears nothing after its end", async () => {
    const { question, listeners, isAsked } = setUp([[job(true)], "down"]);
    const stop = question.start();
    await settled();
    await question.look();
    expect(isAsked()).toBe(true);
    stop();
    expect(listeners.size).toBe(0);
  });
});
