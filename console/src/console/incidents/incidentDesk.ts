import { createStore } from "zustand/vanilla";

import { base64, slices } from "../../shared/protocol/chain";
import { newId } from "../../shared/protocol/ids";
import { Problem } from "../../shared/protocol/problem";
import { send, type Rest, type TokenSource } from "../../shared/protocol/rest";
import type { CallCard, Colleague, Evidence, Incident, IncidentContact, IncidentDetail, IncidentTrailFix, Orphan, Page } from "../../shared/protocol/types";
import { judgeChain, type ChainVerdict } from "./evidenceChain";
import { createIncidentsStore, mergeIncidents, missingFrom, replaceIncident } from "./incidentsStore";
import { TrailFollower } from "./trailFollower";

const PAGE_ROWS = 200;
/** SafeTap's own port is asked for so long before the API stands in for it. */
const DOOR_TIMEOUT_MS = 3_000;
/** As the server has it: a chunk of evidence holds 128 KiB. */
const CHUNK_BYTES_MAX = 131_072;

/** What a key asks of the panel that is open. */
export type Asked = "acknowledge" | "hand_over" | "close" | "note";

/** What the desk does about incidents; one per signed-in person, the screen calls its verbs and reads its stores. */
export class IncidentDesk {
  readonly store = createIncidentsStore();
  readonly trail: TrailFollower;
  /** The row that the keyboard stands on. */
  readonly selection = createStore<{ readonly id: string | null }>(() => ({ id: null }));
  /** What a key asked of the panel, until it is done. */
  readonly asked = createStore<{ readonly what: Asked | null }>(() => ({ what: null }));

  constructor(
    private readonly rest: Rest,
    private readonly tokens: TokenSource,
    private readonly safetapUrl: string,
  ) {
    this.trail = new TrailFollower((id, afterMs) => this.trailOf(id, afterMs));
  }

  take(incidents: readonly Incident[]): void {
    this.store.setState(({ byId }) => ({ byId: mergeIncidents(byId, incidents), heardAtMs: Date.now() }));
  }

  /** A full snapshot also says what is over; one from a door's memory says nothing of the rest. */
  takeSnapshot(incidents: readonly Incident[], isPartial: boolean): void {
    const gone = isPartial ? [] : missingFrom(this.store.getState().byId, incidents);
    this.take(incidents);
    for (const id of gone) {
      void this.rest.get<Incident>(`/v1/incidents/${id}`).then(
        (incident) => this.take([incident]),
        () => undefined,
      );
    }
  }

  replace(incidentId: string, by: string | null): void {
    this.store.setState((state) => replaceIncident(state, incidentId, by));
  }

  async load(): Promise<void> {
    const page = await this.rest.get<Page<Incident>>(`/v1/incidents?limit=${PAGE_ROWS}`).catch(() => null);
    if (page) this.take(page.items);
  }

  acknowledge(id: string): Promise<void> {
    return this.answer(id, "acknowledge", {});
  }

  /** A false alarm is written down first: whoever reads of the close reads that too. */
  async close(id: string, reason: string, isFalseAlarm = false): Promise<void> {
    if (isFalseAlarm) this.take([await this.rest.put<Incident>(`/v1/incidents/${id}/false-alarm`, { is_false_alarm: true })]);
    await this.answer(id, "close", { reason });
  }

  /** A human says that an unverified alarm is real: its whole ladder begins. */
  async vouch(id: string): Promise<void> {
    this.take([await this.rest.post<Incident>(`/v1/incidents/${id}/vouch`)]);
  }

  /** The person's own words go to their own phone; refused unless they chose that. */
  async sendDecoy(id: string): Promise<void> {
    this.take([await this.rest.post<Incident>(`/v1/incidents/${id}/decoy`)]);
  }

  async handOver(id: string, to: string, note: string): Promise<void> {
    this.take([await this.rest.post<Incident>(`/v1/incidents/${id}/hand-over`, { to, note })]);
  }

  /** End the shift: everything that this person has taken goes to a colleague. Answers how many incidents went. */
  async handDeskOver(to: string, note: string): Promise<{ readonly handedOver: number; readonly kept: number }> {
    const ended = await this.rest.post<{ readonly handed_over: readonly string[]; readonly kept: readonly string[] }>("/v1/desks/hand-over", { to, note });
    return { handedOver: ended.handed_over.length, kept: ended.kept.length };
  }

  async colleagues(): Promise<readonly Colleague[]> {
    return (await this.rest.get<{ readonly items: readonly Colleague[] }>("/v1/desks/colleagues")).items;
  }

  /** With its history and what was sent; that it was read is on record, here and below. */
  detail(id: string): Promise<IncidentDetail> {
    return this.rest.get<IncidentDetail>(`/v1/incidents/${id}`);
  }

  callCard(id: string): Promise<CallCard> {
    return this.rest.get<CallCard>(`/v1/incidents/${id}/call-card`);
  }

  contact(id: string): Promise<IncidentContact> {
    return this.rest.get<IncidentContact>(`/v1/incidents/${id}/contact`);
  }

  report(id: string, format: "html" | "json"): Promise<Blob> {
    return this.rest.bytes(`/v1/incidents/${id}/report?format=${format}`);
  }

  async addNote(id: string, text: string): Promise<void> {
    this.take([await this.rest.post<Incident>(`/v1/incidents/${id}/notes`, { text })]);
  }

  async setPoliceReference(id: string, reference: string): Promise<void> {
    this.take([await this.rest.put<Incident>(`/v1/incidents/${id}/police-reference`, { reference })]);
  }

  async say(id: string, text: string): Promise<void> {
    this.take([await this.rest.post<Incident>(`/v1/incidents/${id}/chat`, { text })]);
  }

  async evidence(id: string): Promise<readonly Evidence[]> {
    return (await this.rest.get<{ readonly items: readonly Evidence[] }>(`/v1/incidents/${id}/evidence`)).items;
  }

  /** Fetch every chunk of a piece and hold it against the hash on record. */
  async readEvidence(id: string, piece: Evidence): Promise<ChainVerdict> {
    const chunks: Uint8Array<ArrayBuffer>[] = [];
    for (let n = 0; n < piece.chunks; n += 1) {
      const chunk = await this.rest.bytes(`/v1/incidents/${id}/evidence/${piece.evidence_id}?n=${n}`);
      chunks.push(new Uint8Array(await chunk.arrayBuffer()));
    }
    return judgeChain(chunks, piece, piece.media_type);
  }

  /** Add a file chunk by chunk, each with the hash of the one before. */
  async addEvidence(id: string, file: File): Promise<void> {
    const parts = [...slices(new Uint8Array(await file.arrayBuffer()), CHUNK_BYTES_MAX)];
    if (parts.length === 0) throw new Problem(0, "empty", "This file is empty.");
    const evidenceId = newId();
    let previous: string | undefined;
    for (const [n, part] of parts.entries()) {
      const body = {
        evidence_id: evidenceId,
        n,
        data: base64(part),
        media_type: file.type || "application/octet-stream",
        is_last: n === parts.length - 1,
        ...(previous === undefined ? {} : { prev_sha256: previous }),
      };
      previous = (await this.rest.post<{ readonly sha256: string }>(`/v1/incidents/${id}/evidence`, body)).sha256;
    }
  }

  async orphans(): Promise<readonly Orphan[]> {
    return (await this.rest.get<Page<Orphan>>("/v1/safetap/orphans?limit=50")).items;
  }

  private async trailOf(id: string, afterMs: number): Promise<readonly IncidentTrailFix[]> {
    return (await this.rest.get<{ readonly fixes: readonly IncidentTrailFix[] }>(`/v1/incidents/${id}/trail?after_ms=${afterMs}`)).fixes;
  }

  /** SafeTap's own port first: it answers when everything else is down. The API stands in for a blocked port. */
  private async answer(id: string, verb: "acknowledge" | "close", body: unknown): Promise<void> {
    const path = `/v1/incidents/${id}/${verb}`;
    const idempotencyKey = newId();
    try {
      const token = await this.tokens.freshToken();
      this.take([await send<Incident>(`${this.safetapUrl}${path}`, "POST", token, { body, idempotencyKey, timeoutMs: DOOR_TIMEOUT_MS })]);
    } catch (error) {
      if (error instanceof Problem && !error.isTransient && error.status !== 401) throw error;
      this.take([await this.rest.post<Incident>(path, body, { idempotencyKey })]);
    }
  }
}
