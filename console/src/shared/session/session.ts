import { newId } from "../protocol/ids";
import { Problem } from "../protocol/problem";
import { send, type TokenSource } from "../protocol/rest";
import type { Role, Tokens } from "../protocol/types";

export interface SignedIn {
  readonly personId: string;
  readonly role: Role;
}

export type SessionState =
  | { readonly phase: "restoring" }
  | { readonly phase: "signed_out"; readonly reason: string | null }
  | { readonly phase: "signed_in"; readonly person: SignedIn };

interface Access {
  readonly token: string;
  readonly expiresAtMs: number;
}

/** What outlives a reload of the page. `refreshKey` makes a repeated refresh with the same token one request. */
interface Kept {
  readonly refreshToken: string;
  readonly refreshKey: string;
  readonly personId: string;
  readonly role: Role;
}

export interface SessionPorts {
  readonly apiUrl: string;
  readonly storage: Pick<Storage, "getItem" | "setItem" | "removeItem">;
  readonly storageKey: string;
  readonly allowedRoles: readonly Role[];
  readonly nowMs: () => number;
}

/** Tokens are renewed this long before they expire. */
const RENEW_BEFORE_MS = 60_000;
const RENEW_RETRY_MS = 5_000;

/**
 * Who is signed in on this page.
 *
 * The access token lives in memory only. The refresh token is kept in sessionStorage: it survives a reload, is gone
 * with the tab, and is not shared between tabs. A script injected into the page could read it, which an httpOnly
 * cookie would prevent; that mode needs a cookie-setting API with CSRF protection and is a later step. Until then the
 * strict Content-Security-Policy of the pages, single use of refresh tokens and revocation of the whole family on
 * reuse bound the damage.
 */
export class Session implements TokenSource {
  private access: Access | null = null;
  private kept: Kept | null = null;
  private renewing: Promise<string | null> | null = null;
  private renewTimer: ReturnType<typeof setTimeout> | undefined;
  private current: SessionState = { phase: "restoring" };
  private readonly watchers = new Set<() => void>();
  private readonly tokenWatchers = new Set<(token: string) => void>();

  constructor(private readonly ports: SessionPorts) {}

  get state(): SessionState {
    return this.current;
  }

  readonly subscribe = (watcher: () => void): (() => void) => {
    this.watchers.add(watcher);
    return () => this.watchers.delete(watcher);
  };

  /** Told every new access token: open sockets pass it on. */
  onToken(watcher: (token: string) => void): () => void {
    this.tokenWatchers.add(watcher);
    return () => this.tokenWatchers.delete(watcher);
  }

  /** Take up the session of before a reload, if there is one. */
  async restore(): Promise<void> {
    this.kept = readKept(this.ports.storage.getItem(this.ports.storageKey));
    if (!this.kept) { this.become({ phase: "signed_out", reason: null }); return; }
    const { personId, role } = this.kept;
    await this.renew().catch(() => null);
    // Without an answer the session stays: the pages show the lost connection and go on when the server is back.
    if (this.state.phase === "restoring") this.become({ phase: "signed_in", person: { personId, role } });
  }

  async signIn(email: string, password: string): Promise<void> {
    const tokens = await send<Tokens>(`${this.ports.apiUrl}/v1/auth/sign-in`, "POST", null, {
      body: { email: email.trim(), password },
    });
    if (!this.ports.allowedRoles.includes(tokens.role)) {
      throw new Problem(403, "not_allowed", `This page is not for a ${tokens.role}. Use the ${tokens.role} page.`);
    }
    this.take(tokens);
    this.become({ phase: "signed_in", person: { personId: tokens.person_id, role: tokens.role } });
  }

  async signOut(): Promise<void> {
    const { kept, access } = this;
    this.forget(null);
    if (!kept || !access) return;
    // Best effort: the family expires by itself when nobody answers.
    await send(`${this.ports.apiUrl}/v1/auth/sign-out`, "POST", access.token, {
      body: { refresh_token: kept.refreshToken },
    }).catch(() => undefined);
  }

  async freshToken(): Promise<string | null> {
    if (this.access && this.access.expiresAtMs - this.ports.nowMs() > RENEW_BEFORE_MS / 2) return this.access.token;
    return this.kept ? this.renew() : null;
  }

  async replaceToken(token: string): Promise<string | null> {
    if (this.access && this.access.token !== token) return this.access.token;
    return this.kept ? this.renew() : null;
  }

  /** The newest token even if expired: SafeTap's door takes it, a cry for help must not wait for a renewal. */
  lastToken(): string | null {
    return this.access?.token ?? null;
  }

  /** Many may ask, one renewal runs: a refresh token works once. */
  private renew(): Promise<string | null> {
    this.renewing ??= this.renewOnce().finally(() => {
      this.renewing = null;
    });
    return this.renewing;
  }

  private async renewOnce(): Promise<string | null> {
    const kept = this.kept;
    if (!kept) return null;
    try {
      const tokens = await send<Tokens>(`${this.ports.apiUrl}/v1/auth/refresh`, "POST", null, {
        body: { refresh_token: kept.refreshToken },
        idempotencyKey: kept.refreshKey,
      });
      if (this.kept !== kept) return null;
      this.take(tokens);
      return tokens.access_token;
    } catch (error) {
      if (error instanceof Problem && !error.isTransient) {
        this.forget("Your session has ended. Please sign in again.");
        return null;
      }
      this.renewAfter(RENEW_RETRY_MS);
      throw error;
    }
  }

  private take(tokens: Tokens): void {
    const lifetimeMs = tokens.expires_in_s * 1000;
    this.access = { token: tokens.access_token, expiresAtMs: this.ports.nowMs() + lifetimeMs };
    this.kept = {
      refreshToken: tokens.refresh_token,
      refreshKey: newId(),
      personId: tokens.person_id,
      role: tokens.role,
    };
    this.ports.storage.setItem(this.ports.storageKey, JSON.stringify(this.kept));
    this.renewAfter(Math.max(lifetimeMs - RENEW_BEFORE_MS, lifetimeMs / 2));
    for (const watcher of this.tokenWatchers) watcher(tokens.access_token);
  }

  private renewAfter(delayMs: number): void {
    clearTimeout(this.renewTimer);
    this.renewTimer = setTimeout(() => void this.renew().catch(() => undefined), delayMs);
  }

  private forget(reason: string | null): void {
    clearTimeout(this.renewTimer);
    this.access = null;
    this.kept = null;
    this.ports.storage.removeItem(this.ports.storageKey);
    this.become({ phase: "signed_out", reason });
  }

  private become(state: SessionState): void {
    this.current = state;
    for (const watcher of this.watchers) watcher();
  }
}

function readKept(text: string | null): Kept | null {
  if (text === null) return null;
  try {
    const value = JSON.parse(text) as Partial<Kept>;
    if (!value.refreshToken || !value.refreshKey || !value.personId || !value.role) return null;
    return { refreshToken: value.refreshToken, refreshKey: value.refreshKey, personId: value.personId, role: value.role };
  } catch {
    return null;
  }
}
