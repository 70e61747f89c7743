import { describe, expect, it } from "vitest";

import type { Incident, IncidentEvent, IncidentTrailFix } from "../../shared/protocol/types";
import { armedWords, WITHOUT_A_DESK, type ArmedFacts } from "./armed";
import { messagesOf } from "./chatMessages";
import { base64, slices } from "../../shared/protocol/chain";
import { chainHead, judgeChain } from "./evidenceChain";
import { createIncidentsStore, incidentQueue, mergeIncidents, missingFrom, neighbour, openAlarms, pageTitle, replaceIncident } from "./incidentsStore";
import { mergeFixes, TrailFollower } from "./trailFollower";
import { alarmLook, contactWords, decoySentAt, eventText, eventWords, incidentLook, kindWords, marksOf, noticeWords, quickReplies } from "./words";

function incident(id: string, extra: Partial<Incident> = {}): Incident {
  return {
    incident_id: id,
    person: { person_id: "p", name: "Ana", role: "worker" },
    booking_id: null,
    kind: "hold",
    is_drill: false,
    trust: "verified",
    state: "open",
    version: 1,
    severity: 2,
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

const mapOf = (...all: Incident[]): ReadonlyMap<string, Incident> => mergeIncidents(new Map(), all);

describe("the queue", () => {
  it("puts severity before steps and age, unverified below every verified one, drills below that", () => {
    const queue = incidentQueue(
      mapOf(
        incident("drill", { is_drill: true, severity: 9 }),
        incident("unverified", { trust: "unverified", severity: 9 }),
        incident("older", { severity: 2, opened_at: "2025-01-01T00:00:00Z" }),
        incident("further", { severity: 2, step: 2 }),
        incident("severe", { severity: 3, opened_at: "2026-06-01T00:00:00Z" }),
        incident("taken", { state: "acknowledged", severity: 9 }),
      ),
    );
    expect(queue.map((one) => one.incident_id)).toEqual(["severe", "further", "older", "unverified", "drill", "taken"]);
  });

  it("moves the keyboard's row and stops at the ends", () => {
    const queue = [incident("a"), incident("b"), incident("c")];
    const from = (id: string | null, step: 1 | -1): string | undefined => neighbour(queue, id, step)?.incident_id;
    expect([from(null, 1), from("a", 1), from("c", 1), from("a", -1), from(null, -1), from("gone", 1)]).toEqual(["a", "b", "c", "a", "c", "a"]);
    expect(neighbour([], null, 1)).toBeUndefined();
  });

  it("counts in the page's title what is real, and says when there is only a drill", () => {
    expect(pageTitle(mapOf(incident("a"), incident("d", { is_drill: true })), "Desk")).toBe("(1) alarm - Desk");
    expect(pageTitle(mapOf(incident("a"), incident("b")), "Desk")).toBe("(2) alarms - Desk");
    expect(pageTitle(mapOf(incident("d", { is_drill: true })), "Desk")).toBe("(drill) - Desk");
    expect(pageTitle(mapOf(incident("a", { state: "acknowledged" })), "Desk")).toBe("Desk");
  });
});

describe("an alarm that only a disk has", () => {
  const memory = incident("m", { version: 0, spooled: true });

  it("is raised although its version stays, and gives way to the committed one for good", () => {
    const raised = mergeIncidents(mapOf(memory), [{ ...memory, severity: 3 }]);
    expect(raised.get("m")?.severity).toBe(3);
    const committed = mergeIncidents(raised, [incident("m", { version: 1 })]);
    expect(committed.get("m")?.spooled).toBeUndefined();
    expect(mergeIncidents(committed, [memory])).toBe(committed);
  });

  it("gives way to the incident that it is part of, and takes nothing else with it", () => {
    const state = { ...createIncidentsStore().getState(), byId: mapOf(memory, incident("real")) };
    const replaced = replaceIncident(state, "m", "real");
    expect([...(replaced.byId?.keys() ?? [])]).toEqual(["real"]);
    expect(replaced.replacedBy?.get("m")).toBe("real");
    expect(replaceIncident(state, "real", null).byId).toBeUndefined();
  });

  it("is not taken for closed because another door's snapshot does not know it", () => {
    expect(missingFrom(mapOf(memory, incident("gone")), [])).toEqual(["gone"]);
    expect(openAlarms(mapOf(memory))).toHaveLength(1);
    expect(marksOf(memory)).toEqual(["On a door's disk only"]);
  });
});

describe("armedWords", () => {
  const facts: ArmedFacts = { isArmed: false, desksArmed: 0, isAllowed: true, isMuted: false, safetap: "live", activeMsAgo: 0 };
  it.each([
    [{ isArmed: true, desksArmed: 1 }, "This desk is armed."],
    [{ isArmed: true, desksArmed: 2 }, "This desk is armed, and 1 other is too."],
    [{ isArmed: true, desksArmed: 4 }, "This desk is armed, and 3 others are too."],
    [{ isMuted: true }, `This desk is NOT armed because its sound is muted. ${WITHOUT_A_DESK}`],
    [{ isAllowed: false, desksArmed: 1 }, "This desk is NOT armed because its sound waits for a first click or key. 1 other desk is armed."],
    [{ safetap: "lost", desksArmed: null }, `This desk is NOT armed because its connection to SafeTap is lost. ${WITHOUT_A_DESK}`],
    [{ activeMsAgo: 600_001 }, `This desk is NOT armed because nobody has touched it for 10 min. ${WITHOUT_A_DESK}`],
    [{}, `This desk is NOT armed because SafeTap has not confirmed it yet. ${WITHOUT_A_DESK}`],
  ] as const)("%j", (change, words) => expect(armedWords({ ...facts, ...change })).toBe(words));
});

function event(version: number, kind: string, actor: string | null, body: Record<string, unknown> = {}): IncidentEvent {
  return { version, kind, actor, actor_id: actor === null ? null : `id of ${actor}`, body, at: `2026-01-01T00:00:${String(version).padStart(2, "0")}Z` };
}

describe("the chat", () => {
  it("is what both wrote, and marks as seen what the phone has fetched since", () => {
    const messages = messagesOf(
      [event(1, "note", "Dora", { text: "not for the phone" }), event(2, "chat", "Dora", { text: "one" }), event(3, "chat_read", "Ana"), event(4, "chat", "Ana", { text: "two" }), event(5, "chat", "Dora", { text: "three" })],
      "id of Ana",
    );
    expect(messages.map(({ text, isTheirs, seenAt }) => [text, isTheirs, seenAt])).toEqual([
      ["one", false, "2026-01-01T00:00:03Z"],
      ["two", true, null],
      ["three", false, null],
    ]);
  });

  it("says as an order how a person may be reached", () => {
    const chosen = { code_word: null, decoy_text: null, may_chat: true, contacts: [] } as const;
    expect(contactWords({ ...chosen, contact_mode: "none" }).order).toBe("Do not contact");
    const decoy = { ...chosen, contact_mode: "decoy", decoy_text: "Your parcel is late" } as const;
    expect(contactWords(decoy).order).toBe("Do not call. Decoy message only");
    expect(quickReplies(decoy)[0]).toBe("Your parcel is late");
    expect(contactWords({ ...chosen, contact_mode: "code_word", code_word: "Marmelada" }).how).toContain("Marmelada");
  });
});

describe("evidence", () => {
  const bytes = (text: string): Uint8Array<ArrayBuffer> => new TextEncoder().encode(text);

  it("chains as the server does", async () => {
    // hashlib.sha256(hashlib.sha256(bytes(32) + b"one").digest() + b"two").hexdigest()
    expect(await chainHead([bytes("one"), bytes("two")])).toBe("b9f0cc527d38ea48d83c4c438121181ab01d99e83415306be2ac88792c40a8f3");
  });

  it("is whole only with every chunk, unchanged and in order", async () => {
    const chunks = [bytes("one"), bytes("two")];
    const told = { chunks: 2, sha256: await chainHead(chunks) };
    const whole = await judgeChain(chunks, told, "audio/webm");
    expect(whole.isWhole && (await whole.data.text())).toBe("onetwo");
    for (const wrong of [[bytes("one")], [bytes("two"), bytes("one")], [bytes("one"), bytes("twO")]]) {
      expect((await judgeChain(wrong, told, "audio/webm")).isWhole).toBe(false);
    }
  });

  it("is cut without losing a byte", () => {
    const data = Uint8Array.from({ length: 20_001 }, (_, at) => at % 256);
    const parts = [...slices(data, 8_192)];
    expect(parts.map((part) => part.length)).toEqual([8_192, 8_192, 3_617]);
    expect(Buffer.from(base64(data), "base64").equals(Buffer.from(data))).toBe(true);
    expect([...slices(new Uint8Array(), 10)]).toEqual([]);
  });
});

describe("the trail", () => {
  const fix = (ts: number): IncidentTrailFix => ({ ts_ms: ts, lat: 41, lng: -8, accuracy_m: 5 });

  it("keeps each moment once, in the order of time, the newest", () => {
    expect(mergeFixes([fix(1), fix(3)], [fix(2), fix(3), fix(4)], 3).map((one) => one.ts_ms)).toEqual([2, 3, 4]);
  });

  it("asks for what is newer, and forgets what belongs to another incident", async () => {
    const asked: [string, number][] = [];
    const follower = new TrailFollower((id, afterMs) => {
      asked.push([id, afterMs]);
      return Promise.resolve([fix(afterMs + 1)]);
    });
    const settled = (): Promise<void> => new Promise((resume) => setTimeout(resume, 0));
    follower.follow("a", false)();
    const stop = follower.follow("a", false);
    await settled();
    stop();
    follower.follow("a", false);
    await settled();
    expect(follower.store.getState().fixes.map((one) => one.ts_ms)).toEqual([1, 2]);
    follower.follow("b", false);
    await settled();
    expect(asked).toEqual([["a", 0], ["a", 0], ["a", 1], ["b", 0]]);
    expect(follower.store.getState().fixes).toHaveLength(1);
  });
});

describe("words", () => {
  it("has a shape of its own for a drill and for an unverified alarm", () => {
    const shapes = [incident("a"), incident("b", { trust: "unverified" }), incident("c", { is_drill: true, trust: "unverified" })].map((one) => alarmLook(one).shape);
    expect(new Set(shapes).size).toBe(3);
    expect(marksOf(incident("c", { is_drill: true, trust: "unverified" }))).toEqual(["DRILL", "Unverified sender"]);
  });

  it("calls what it does not know by its own name", () => {
    expect(kindWords("check_in_missed")).toBe("Check-in missed");
    expect(kindWords("left_the_planet")).toBe("left the planet");
    expect(eventWords(event(1, "something_new", null))).toBe("something new");
    expect(eventWords(event(1, "handed_over", "Dora", { to_name: "Rui" }))).toBe("Handed over to Rui");
    expect(eventText(event(1, "closed", "Dora", { reason: "all well" }))).toBe("all well");
  });

  it("has a state for a close that waits for a second person, also where the alarm is open", () => {
    const asked = { person_id: "d", name: "Dora", at: "2026-01-01T00:00:03Z", reason: "all well" };
    for (const state of ["open", "acknowledged"] as const) {
      expect(incidentLook(incident("a", { state, close_asked: asked })).label).toContain("one more person");
      expect(incidentLook(incident("a", { state, close_asked: null })).label).not.toContain("person");
    }
    expect(incidentLook(incident("a", { state: "closed", close_asked: asked })).label).toBe("Closed");
  });

  it("knows when the decoy message last went out", () => {
    expect(decoySentAt([event(1, "triggered", "Ana")])).toBeNull();
    expect(decoySentAt([event(2, "decoy", "Dora"), event(4, "decoy", "Rui"), event(5, "note", "Rui")])).toBe(event(4, "decoy", null).at);
  });

  it("says what became of a notice", () => {
    const notice = { notice_id: "n", step: 2, loop: 1, target: "on_call:x", channel: "sms", state: "sent", attempts: 1, last_error: null, delivery: null, created_at: "2026-01-01T00:00:00Z", sent_at: null, delivery_at: null } as const;
    expect(noticeWords(notice)).toBe("Step 2, round 2: sms to on_call, sent");
    expect(noticeWords({ ...notice, delivery: "read" })).toBe("Step 2, round 2: sms to on_call, read");
    expect(noticeWords({ ...notice, state: "pending", attempts: 3 })).toContain("attempt 3");
  });
});
