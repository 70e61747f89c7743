import { Problem } from "../protocol/problem";
import { Rest, send } from "../protocol/rest";
import type { Page, ServerConfig } from "../protocol/types";
import type { Session } from "../session/session";
import type { KeptSetup, SafetySetup } from "./setupDraft";

/** So long a port that swallows everything is waited for; a PIN is answered within a second. */
const DOOR_TIMEOUT_MS = 5_000;

export interface QuickKey {
  readonly key_id: string;
  readonly label: string;
  readonly created_at: string;
}

/** With what nobody can read again. */
export interface NewQuickKey extends QuickKey {
  readonly secret: string;
}

export interface ButtonSetup {
  readonly url: string;
  readonly secret: string;
}

export interface PhoneDoor {
  readonly phone: string;
  readonly calls: boolean;
  /** The number to write to; null: this installation has none. */
  readonly number: string | null;
}

export interface TrackerSetup {
  readonly app: string;
  readonly url: string;
  readonly deep_link: string | null;
}

export interface SilentMessage {
  readonly n: number;
  readonly is_mine: boolean;
  readonly text: string;
  readonly at: string;
}

/** A job during which the person is watched over; times RFC 3339. */
export interface WatchedJob {
  readonly booking_id: string;
  readonly service_name: string;
  readonly is_due: boolean;
  readonly answer_by: string | null;
  readonly next_check_in_at: string | null;
  readonly needs_pin: boolean;
}

export interface LastPlace {
  readonly lat: number;
  readonly lng: number;
  readonly ts_ms: number;
  readonly accuracy_m?: number;
}

/** Everything behind the screen where a person prepares for the worst. Each call throws `Problem`. */
export class PrivacyClient {
  constructor(
    private readonly rest: Pick<Rest, "get" | "post" | "put" | "delete">,
    /** Takes a PIN at SafeTap's own port. */
    private readonly atSafetap: (path: string, body: object) => Promise<unknown>,
  ) {}

  load(): Promise<KeptSetup> {
    return this.rest.get("/v1/me/safety");
  }

  /** Change a part of the set-up; what another part of the screen, or another device, chose meanwhile stays. */
  async change(part: Partial<SafetySetup>): Promise<KeptSetup> {
    const { contact_mode, code_word, decoy_text, is_volunteer, contacts, cue, records_sound } = await this.load();
    const chosen: SafetySetup = { contact_mode, code_word, decoy_text, is_volunteer, contacts, cue, records_sound };
    return this.rest.put("/v1/me/safety", { ...chosen, ...part });
  }

  async setPins(safe: string, duress: string, current: string): Promise<void> {
    await this.rest.put("/v1/me/safety/pins", { safe_pin: safe, duress_pin: duress, ...(current ? { current_pin: current } : {}) });
  }

  /**
   * SafeTap's own port first, as every alarm: it answers while everything else is down. The server answers alike to the
   * safe and the duress PIN; so does this, and whatever is shown of it.
   */
  async givePin(pin: string, place: LastPlace | undefined): Promise<void> {
    const [path, body] = ["/v1/safetap/cancel", { pin, ...(place ? { fix: place } : {}) }] as const;
    await this.atSafetap(path, body).catch((error: unknown) => {
      // Only where it was not judged there: a wrong PIN must not count twice. The API also renews a sign-in.
      if (error instanceof Problem && (error.status === 0 || error.status === 401 || error.status >= 500)) return this.rest.post(path, body);
      throw error;
    });
  }

  async watchedJobs(): Promise<readonly WatchedJob[]> {
    return (await this.rest.get<{ items: readonly WatchedJob[] }>("/v1/me/check-ins")).items;
  }

  /** All is well, with a PIN where one is wanted; both PINs are answered alike. */
  async tellAllIsWell(pin: string, place: LastPlace | undefined): Promise<readonly WatchedJob[]> {
    const body = { ...(pin ? { pin } : {}), ...(place ? { fix: place } : {}) };
    return (await this.rest.post<{ items: readonly WatchedJob[] }>("/v1/me/check-in", body)).items;
  }

  async keys(): Promise<readonly QuickKey[]> {
    return (await this.rest.get<{ items: readonly QuickKey[] }>("/v1/me/trigger-keys")).items;
  }

  addKey(label: string): Promise<NewQuickKey> {
    return this.rest.post("/v1/me/trigger-keys", { label });
  }

  async removeKey(keyId: string): Promise<void> {
    await this.rest.delete(`/v1/trigger-keys/${keyId}`);
  }

  button(keyId: string): Promise<ButtonSetup> {
    return this.rest.post(`/v1/me/trigger-keys/${keyId}/button`);
  }

  phoneDoor(): Promise<PhoneDoor | null> {
    return orNull(this.rest.get<PhoneDoor>("/v1/me/phone-door"));
  }

  setPhoneDoor(phone: string, word: string, calls: boolean): Promise<PhoneDoor> {
    return this.rest.put("/v1/me/phone-door", { phone, word, calls });
  }

  async removePhoneDoor(): Promise<void> {
    await this.rest.delete("/v1/me/phone-door");
  }

  /** Workers only. The answer's URL carries the tracker's token. */
  async addTracker(kind: "osmand" | "traccar"): Promise<TrackerSetup> {
    const { apps } = await this.rest.post<{ apps: readonly TrackerSetup[] }>("/v1/devices", { kind });
    const setup = apps.find(({ app }) => app === kind);
    if (!setup) throw new Problem(502, "internal", "The server told no set-up for this app.");
    return setup;
  }

  async trackers(): Promise<readonly { readonly device_id: string; readonly kind: string; readonly revoked_at: string | null }[]> {
    return (await this.rest.get<Page<{ device_id: string; kind: string; revoked_at: string | null }>>("/v1/devices")).items;
  }

  async removeTracker(deviceId: string): Promise<void> {
    await this.rest.delete(`/v1/devices/${deviceId}`);
  }

  /** Null: there is nothing to talk about, or the person chose that nobody contacts them. */
  async messages(): Promise<readonly SilentMessage[] | null> {
    return (await orNull(this.rest.get<{ items: readonly SilentMessage[] }>("/v1/me/safety/chat")))?.items ?? null;
  }

  async say(text: string): Promise<readonly SilentMessage[]> {
    return (await this.rest.post<{ items: readonly SilentMessage[] }>("/v1/me/safety/chat", { text })).items;
  }
}

/** The client of a page: its own origin, and SafeTap's port beside it, where even an expired token is taken. */
export function privacyClient(config: ServerConfig, session: Session): PrivacyClient {
  return new PrivacyClient(new Rest(location.origin, session), async (path, body) =>
    send(`${config.safetap_url}${path}`, "POST", session.lastToken() ?? (await session.freshToken()), { body, timeoutMs: DOOR_TIMEOUT_MS }),
  );
}

async function orNull<T>(answer: Promise<T>): Promise<T | null> {
  return answer.catch((error: unknown) => {
    if (error instanceof Problem && error.status === 404) return null;
    throw error;
  });
}
