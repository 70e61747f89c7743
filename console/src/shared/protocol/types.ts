/** The nouns of docs/protocol.md, as they travel. Times: Unix ms on sockets, RFC 3339 in REST; money in minor units. */

export type Role = "customer" | "worker" | "dispatcher" | "admin";
export type Duty = "on" | "off";

export interface LatLng {
  readonly lat: number;
  readonly lng: number;
}

export interface ServerConfig {
  readonly api_url: string;
  readonly gateway_url: string;
  readonly safetap_url: string;
  readonly map_style_url: string;
  readonly mode: "production" | "demo";
  readonly region: { readonly name: string; readonly tz: string; readonly center: LatLng };
  /** Present while a recorded trace is replayed: the time of fixes runs `scale` times as fast from `epoch_ms` on. */
  readonly clock?: { readonly scale: number; readonly epoch_ms: number };
}

export interface Tokens {
  readonly access_token: string;
  readonly expires_in_s: number;
  readonly refresh_token: string;
  readonly person_id: string;
  readonly role: Role;
}

export const BOOKING_STATES = [
  "searching",
  "offered",
  "assigned",
  "en_route",
  "arrived",
  "in_progress",
  "completed",
  "confirmed",
  "cancelled",
  "unserved",
] as const;
export type BookingState = (typeof BOOKING_STATES)[number];

export interface Address {
  readonly line: string;
  readonly floor?: string | null;
  readonly entry_notes?: string | null;
}

export interface BookingEvent {
  readonly version: number;
  readonly from: BookingState | null;
  readonly to: BookingState;
  readonly actor_role: Role | null;
  readonly reason: string | null;
  readonly at: string;
}

/** A seat of a job for several workers: a booking of its own. */
export interface CrewSeat {
  readonly seat: number;
  readonly role: string;
  readonly booking_id: string;
  readonly state: BookingState;
  readonly worker: Booking["worker"];
}

/** The whole that a booking is a seat of; a higher `version` is newer. */
export interface Crew {
  readonly crew_id: string;
  readonly version: number;
  readonly state: BookingState;
  readonly seat: number;
  readonly role: string;
  readonly seats: readonly CrewSeat[];
}

export interface Booking {
  readonly booking_id: string;
  readonly state: BookingState;
  readonly version: number;
  readonly service_code: string;
  readonly service_name: string;
  readonly pin: LatLng;
  readonly address: Address;
  readonly notes?: string | null;
  readonly customer?: { readonly person_id: string; readonly name?: string | null } | null;
  readonly worker: {
    readonly worker_id: string;
    readonly slot: number;
    readonly name: string;
    readonly rating: number | null;
  } | null;
  readonly eta_s: number | null;
  readonly tz: string;
  readonly created_at: string;
  readonly updated_at: string;
  readonly actual_start: string | null;
  readonly actual_end: string | null;
  readonly events?: readonly BookingEvent[];
  /** Only of a job for several workers. */
  readonly crew?: Crew;
}

export interface Offer {
  readonly offer_id: string;
  readonly booking_id: string;
  readonly state: string;
  readonly service_code: string;
  readonly service_name: string;
  readonly pin: LatLng;
  readonly address_line: string;
  readonly eta_s: number | null;
  readonly price_minor: number;
  readonly currency: string;
  readonly duration_min: number;
  readonly sent_at: string;
  readonly expires_at: string;
}

export interface Service {
  readonly service_id: string;
  readonly code: string;
  readonly name: string;
  readonly duration_min: number;
  readonly price_minor: number;
  readonly currency: string;
}

export interface WorkerRow {
  readonly worker_id: string;
  readonly slot: number;
  readonly full_name: string;
  readonly skills: readonly string[];
  readonly rating: number | null;
  readonly duty: Duty;
  readonly booking_id?: string | null;
  readonly last_seen_ms?: number | null;
}

export interface Page<T> {
  readonly items: readonly T[];
  readonly next_cursor: string | null;
}

/** What every welcome says: whether all that was missed came before it. */
export interface Welcome {
  readonly recovered: boolean;
}

/** How often a phone takes a fix, and how often it sends what it gathered (absent: each fix at once). */
export interface Cadence {
  readonly cadence_ms: number;
  readonly batch_ms?: number;
}

/** The present state of a worker: the object of the welcome frame. */
export interface WorkerWelcome extends Welcome, Cadence {
  readonly slot?: number;
  readonly duty: Duty;
  readonly offer: Offer | null;
  readonly booking: Booking | null;
  readonly server_ms: number;
}

/** Answers frames: 0 every ping up to `seq` is indexed; 1, 2: the trigger `seq` alone is on a disk, is committed. */
export interface FrameAck {
  readonly seq: number;
  readonly state: 0 | 1 | 2;
}

/** Where a customer's worker is, with the arrival as an interval. */
export interface Position {
  readonly booking_id: string;
  readonly lat: number;
  readonly lng: number;
  readonly heading_deg?: number | null;
  readonly ts_ms: number;
  readonly eta_s: number;
  readonly eta_low_s: number;
  readonly eta_high_s: number;
}

export interface Stats {
  readonly workers_on_duty: number;
  readonly workers_live: number;
  readonly bookings: Readonly<Partial<Record<BookingState, number>>>;
  readonly fixes_per_s: number;
  readonly at_ms: number;
}

export type ZoneKind = "service_area" | "no_go" | "site";

/** A zone as `/v1/zones/export` tells it: a GeoJSON feature, longitude first. */
export interface ZoneFeature {
  readonly id: string;
  readonly geometry: { readonly coordinates: readonly (readonly (readonly (readonly [number, number])[])[])[] };
  readonly properties: { readonly name: string; readonly kind: ZoneKind; readonly active: boolean };
}

export interface ZoneEvent {
  readonly event_id: number;
  readonly kind: "enter" | "exit" | "dwell";
  readonly reason: "moved" | "off_duty" | "zone_changed" | "recovered";
  readonly zone_id: string;
  readonly zone_kind: ZoneKind;
  readonly zone_name: string;
  readonly worker_id: string;
  readonly slot: number;
  readonly at: string;
  readonly detected_at: string;
}

export type TriggerKind = "button" | "hold" | "gesture" | "duress_pin" | "drill";

export interface TriggerBody {
  readonly trigger_id: string;
  readonly kind: TriggerKind;
  readonly booking_id?: string;
  readonly fix?: { readonly lat: number; readonly lng: number; readonly accuracy_m?: number; readonly ts_ms: number };
}

export interface TriggerAnswer {
  readonly trigger_id: string;
  readonly state: "committed" | "spooled";
}

export type IncidentState = "open" | "acknowledged" | "closed";

export interface Incident {
  readonly incident_id: string;
  readonly person: { readonly person_id: string; readonly name: string; readonly role: Role };
  readonly booking_id: string | null;
  /** A `TriggerKind`, or what the server noticed by itself. */
  readonly kind: string;
  readonly is_drill: boolean;
  readonly trust: "verified" | "unverified";
  readonly state: IncidentState;
  readonly version: number;
  readonly severity: number;
  readonly step: number;
  readonly next_step_at: string | null;
  readonly fix: { readonly lat: number; readonly lng: number; readonly accuracy_m: number | null; readonly ts_ms: number } | null;
  readonly address: Address | null;
  readonly opened_at: string;
  readonly acknowledged_at: string | null;
  readonly acknowledged_by: string | null;
  readonly closed_at: string | null;
  readonly close_reason: string | null;
  /** A safe PIN was given; a human has still to close. */
  readonly says_safe_at: string | null;
  readonly police_reference: string | null;
  readonly is_false_alarm: boolean;
  /** Closing it takes two, and one has asked for it; null too where something since has made that void. */
  readonly close_asked?: { readonly person_id: string; readonly name: string; readonly at: string; readonly reason: string } | null;
  /** Only a door's disk has it yet: it is shown from that door's memory, with version 0. */
  readonly spooled?: boolean;
}

export interface IncidentNotice {
  readonly notice_id: string;
  readonly step: number;
  readonly loop: number;
  readonly target: string;
  readonly channel: string;
  readonly state: "pending" | "sent" | "failed";
  readonly attempts: number;
  readonly last_error: string | null;
  readonly delivery: "delivered" | "read" | "undelivered" | null;
  readonly created_at: string;
  readonly sent_at: string | null;
  readonly delivery_at: string | null;
}

export interface IncidentEvent {
  readonly version: number;
  readonly kind: string;
  readonly actor: string | null;
  readonly actor_id: string | null;
  readonly body: Readonly<Record<string, unknown>>;
  readonly at: string;
}

export interface IncidentDetail extends Incident {
  readonly events: readonly IncidentEvent[];
  readonly notices: readonly IncidentNotice[];
}

export interface IncidentTrailFix {
  readonly ts_ms: number;
  readonly lat: number;
  readonly lng: number;
  readonly accuracy_m: number | null;
}

/** What the person who called chose beforehand. */
export interface IncidentContact {
  readonly contact_mode: "none" | "decoy" | "code_word";
  readonly code_word: string | null;
  readonly decoy_text: string | null;
  readonly may_chat: boolean;
  readonly contacts: readonly {
    readonly name: string;
    readonly phone: string | null;
    readonly email: string | null;
    readonly may_be_at_address: boolean;
  }[];
}

/** A piece of evidence; `sha256` is where its chain ends so far. */
export interface Evidence {
  readonly evidence_id: string;
  readonly media_type: string;
  readonly uploaded_by: string;
  readonly created_at: string;
  readonly chunks: number;
  readonly bytes: number;
  readonly is_complete: boolean;
  readonly sha256: string | null;
}

export interface Colleague {
  readonly person_id: string;
  readonly name: string;
  readonly role: Role;
  readonly is_armed: boolean;
}

export interface ArmedDesk {
  readonly desk_id: string;
  readonly person_id: string;
  readonly name: string;
  readonly armed_at: string;
  readonly armed_until: string;
}

/** Seconds from the alarm; null where nothing was measured. */
export interface IncidentFigures {
  readonly incidents: number;
  readonly open: number;
  readonly acknowledged: number;
  readonly false_alarms: number;
  readonly lapsed: number;
  readonly acknowledge_p50_s: number | null;
  readonly acknowledge_p99_s: number | null;
  readonly close_p50_s: number | null;
}

export interface IncidentStatistics {
  readonly real: IncidentFigures;
  readonly drills: IncidentFigures;
}

/** A trigger that nothing vouches for and of nobody known. */
export interface Orphan {
  readonly orphan_id: string;
  readonly door: string;
  readonly kind: string | null;
  readonly received_at: string;
}

/** What to say to the police. A drill's has no numbers. */
export interface CallCard {
  readonly warning: string | null;
  readonly place: { readonly line: string; readonly floor: string; readonly entry_notes: string } | null;
  readonly last_fix: { readonly lat: number; readonly lng: number; readonly accuracy_m: number | null; readonly at: string; readonly age_s: number } | null;
  readonly people: readonly { readonly name: string; readonly role: Role; readonly phone: string | null; readonly called_for_help: boolean }[];
  readonly numbers: { readonly emergency: string; readonly police: string; readonly is_known: boolean } | null;
  readonly police_reference: string | null;
}

export type Ack<T> =
  | { readonly ok: true; readonly result: T }
  | { readonly ok: false; readonly error: { readonly code: string; readonly detail: string; readonly field?: string } };
