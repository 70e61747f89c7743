import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";

import { Rest } from "../protocol/rest";
import { Session } from "./session";

interface Call {
  readonly path: string;
  readonly headers: Headers;
  readonly body: Record<string, unknown>;
}

/** A hand-written API: answers refreshes with numbered tokens, refuses what a test says. */
class FakeApi {
  calls: Call[] = [];
  issued = 0;
  isDown = false;
  isRevoked = false;
  role = "dispatcher";

  readonly fetch = (url: string, init: RequestInit): Promise<Response> => {
    const path = new URL(url).pathname;
    const headers = new Headers(init.headers);
    const body = typeof init.body === "string" ? (JSON.parse(init.body) as Record<string, unknown>) : {};
    this.calls.push({ path, headers, body });
    if (this.isDown) return Promise.reject(new TypeError("Failed to fetch"));
    if (path.startsWith("/v1/auth/")) return Promise.resolve(this.auth());
    const isFresh = headers.get("Authorization") === `Bearer access-${this.issued}`;
    return Promise.resolve(isFresh ? json(200, { ok: true }) : json(401, { code: "not_signed_in", detail: "Sign in first." }));
  };

  private auth(): Response {
    if (this.isRevoked) return json(401, { code: "not_signed_in", detail: "Revoked." });
    this.issued += 1;
    return json(200, {
      access_token: `access-${this.issued}`,
      refresh_token: `refresh-${this.issued}`,
      expires_in_s: 900,
      person_id: "p1",
      role: this.role,
    });
  }
}

function json(status: number, body: unknown): Response {
  return new Response(JSON.stringify(body), { status, headers: { "Content-Type": "application/json" } });
}

function memoryStorage(): Storage {
  const values = new Map<string, string>();
  return {
    getItem: (key: string) => values.get(key) ?? null,
    setItem: (key: string, value: string) => void values.set(key, value),
    removeItem: (key: string) => void values.delete(key),
  } as Storage;
}

describe("Session", () => {
  let api: FakeApi;
  let storage: Storage;

  beforeEach(() => {
    vi.useFakeTimers();
    api = new FakeApi();
    storage = memoryStorage();
    vi.stubGlobal("fetch", api.fetch);
  });
  afterEach(() => {
    vi.useRealTimers();
    vi.unstubAllGlobals();
  });

  const open = (): Session =>
    new Session({
      apiUrl: "http://api.test",
      storage,
      storageKey: "session",
      allowedRoles: ["dispatcher", "admin"],
      nowMs: () => Date.now(),
    });

  it("keeps the access token out of the storage", async () => {
    const session = open();
    await session.signIn(" desk@clenzy.test ", "secret");
    expect(session.state).toEqual({ phase: "signed_in", person: { personId: "p1", role: "dispatcher" } });
    expect(storage.getItem("session")).toContain("refresh-1");
    expect(storage.getItem("session")).not.toContain("access-1");
    expect(api.calls[0]?.body).toEqual({ email: "desk@clenzy.test", password: "secret" });
  });

  it("refuses a role that the page is not for, and keeps nothing", async () => {
    api.role = "customer";
    await expect(open().signIn("c@clenzy.test", "secret")).rejects.toThrow("not for a customer");
    expect(storage.getItem("session")).toBeNull();
  });

  it("renews before the token expires and tells the sockets", async () => {
    const session = open();
    await session.signIn("desk@clenzy.test", "secret");
    const told: string[] = [];
    session.onToken((token) => told.push(token));
    await vi.advanceTimersByTimeAsync(840_000);
    expect(told).toEqual(["access-2"]);
    expect(await session.freshToken()).toBe("access-2");
  });

  it("lets many waiting requests share one renewal: a refresh token works once", async () => {
    const session = open();
    await session.signIn("desk@clenzy.test", "secret");
    const rest = new Rest("http://api.test", session);
    api.issued = 5; // the server no longer takes access-1
    await Promise.all([rest.get("/v1/me"), rest.get("/v1/bookings"), rest.post("/v1/thing")]);
    expect(api.calls.filter((call) => call.path === "/v1/auth/refresh")).toHaveLength(1);
  });

  it("sends the same idempotency key again after a refresh in between", async () => {
    const session = open();
    await session.signIn("desk@clenzy.test", "secret");
    api.issued = 5;
    await new Rest("http://api.test", session).post("/v1/bookings", { a: 1 });
    const keys = api.calls.filter((call) => call.path === "/v1/bookings").map((call) => call.headers.get("Idempotency-Key"));
    expect(keys).toHaveLength(2);
    expect(keys[0]).toBe(keys[1]);
  });

  it("takes up the session after a reload", async () => {
    await open().signIn("desk@clenzy.test", "secret");
    const reloaded = open();
    await reloaded.restore();
    expect(reloaded.state.phase).toBe("signed_in");
    expect(await reloaded.freshToken()).toBe("access-2");
  });

  it("keeps the session while the server is away, repeats the refresh with the same key, and goes on by itself", async () => {
    await open().signIn("desk@clenzy.test", "secret");
    api.isDown = true;
    const reloaded = open();
    await reloaded.restore();
    expect(reloaded.state.phase).toBe("signed_in");
    api.isDown = false;
    await vi.advanceTimersByTimeAsync(5_000);
    expect(await reloaded.freshToken()).toBe("access-2");
    const keys = api.calls.filter((call) => call.path === "/v1/auth/refresh").map((call) => call.headers.get("Idempotency-Key"));
    expect(new Set(keys).size).toBe(1);
  });

  it("signs out with a reason when the server has ended the session", async () => {
    const session = open();
    await session.signIn("desk@clenzy.test", "secret");
    api.isRevoked = true;
    expect(await session.replaceToken("access-1")).toBeNull();
    expect(session.state).toMatchObject({ phase: "signed_out", reason: expect.stringContaining("ended") as string });
    expect(storage.getItem("session")).toBeNull();
  });

  it("starts signed out when the storage holds nonsense", async () => {
    storage.setItem("session", "{not json");
    const session = open();
    await session.restore();
    expect(session.state).toEqual({ phase: "signed_out", reason: null });
  });
});
