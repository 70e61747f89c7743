import { newId } from "../shared/protocol/ids";
import type { LatLng } from "../shared/protocol/types";

/** A booking being written. Kept in the tab, so that a reload or a lost connection loses nothing. */
export interface Draft {
  readonly serviceCode: string | null;
  readonly pin: LatLng | null;
  readonly line: string;
  readonly floor: string;
  readonly entryNotes: string;
  readonly notes: string;
  /** The idempotency key of exactly this content: kept over retries, renewed when the content changes. */
  readonly key: string;
}

export const EMPTY_DRAFT: Omit<Draft, "key"> = { serviceCode: null, pin: null, line: "", floor: "", entryNotes: "", notes: "" };

export function changeDraft(draft: Draft, change: Partial<Omit<Draft, "key">>, makeKey: () => string = newId): Draft {
  return { ...draft, ...change, key: makeKey() };
}

/** The request body, or null while something is missing. */
export function bookingRequest(draft: Draft): object | null {
  if (!draft.serviceCode || !draft.pin || draft.line.trim() === "") return null;
  const optional = (name: string, value: string): object => (value.trim() === "" ? {} : { [name]: value.trim() });
  return {
    service_code: draft.serviceCode,
    pin: { lat: draft.pin.lat, lng: draft.pin.lng },
    address: { line: draft.line.trim(), ...optional("floor", draft.floor), ...optional("entry_notes", draft.entryNotes) },
    ...optional("notes", draft.notes),
  };
}

const KEY = "clenzy.draft";

export function loadDraft(): Draft {
  try {
    const kept = JSON.parse(sessionStorage.getItem(KEY) ?? "null") as Partial<Draft> | null;
    return { ...EMPTY_DRAFT, key: newId(), ...kept };
  } catch {
    return { ...EMPTY_DRAFT, key: newId() };
  }
}

export function keepDraft(draft: Draft | null): void {
  if (draft) sessionStorage.setItem(KEY, JSON.stringify(draft));
  else sessionStorage.removeItem(KEY);
}
