/** What a person chooses for the case that something is wrong, as a form that is being filled in. Pure. */

export type ContactMode = "none" | "decoy" | "code_word";

/** How a person's own phone tells them, and nobody else, that something arrived. */
export type Cue = "dot" | "buzz" | "none";

export interface SafetySetup {
  readonly contact_mode: ContactMode;
  readonly code_word: string | null;
  readonly decoy_text: string | null;
  readonly is_volunteer: boolean;
  readonly contacts: readonly SetupContact[];
  readonly cue: Cue;
  /** The person agreed that their phone records sound for their alarm. */
  readonly records_sound: boolean;
}

/** What the law of the person's place says of sound. */
export interface SoundRule {
  readonly is_allowed: boolean;
  /** ISO 3166-1, or `ELSEWHERE`. */
  readonly country: string;
  readonly consent: "all_parties" | "one_party" | "unclear";
  readonly consent_basis: string | null;
}

/** The set-up as the server tells it. */
export interface KeptSetup extends SafetySetup {
  readonly sound: SoundRule;
}

/** What the form about contacts is about; the rest of the set-up stays as it is. */
export type ContactSetup = Omit<SafetySetup, "cue" | "records_sound">;

export interface SetupContact {
  readonly name: string;
  readonly phone: string | null;
  readonly email: string | null;
  readonly may_be_at_address: boolean;
}

export interface ContactDraft {
  /** Stays with the row while others come and go. */
  readonly key: number;
  readonly name: string;
  readonly phone: string;
  readonly email: string;
  readonly mayBeAtAddress: boolean;
}

export interface SetupDraft {
  readonly mode: ContactMode;
  readonly codeWord: string;
  readonly decoyText: string;
  readonly isVolunteer: boolean;
  readonly contacts: readonly ContactDraft[];
}

export const CONTACTS_MAX = 5;
const PIN = /^[0-9]{4,8}$/;
/** One slip of a finger must not turn one PIN into the other. */
const DIFFERENT_DIGITS_MIN = 2;

export function draftOf(setup: ContactSetup): SetupDraft {
  return {
    mode: setup.contact_mode,
    codeWord: setup.code_word ?? "",
    decoyText: setup.decoy_text ?? "",
    isVolunteer: setup.is_volunteer,
    contacts: setup.contacts.map((contact, key) => ({
      key,
      name: contact.name,
      phone: contact.phone ?? "",
      email: contact.email ?? "",
      mayBeAtAddress: contact.may_be_at_address,
    })),
  };
}

/** The request body: what the chosen mode does not use stays out, and rows that nobody filled in. */
export function setupOf(draft: SetupDraft): ContactSetup {
  return {
    contact_mode: draft.mode,
    code_word: draft.mode === "code_word" ? draft.codeWord.trim() : null,
    decoy_text: draft.mode === "decoy" ? draft.decoyText.trim() : null,
    is_volunteer: draft.isVolunteer,
    contacts: draft.contacts.filter(isFilledIn).map((contact) => ({
      name: contact.name.trim(),
      phone: contact.phone.trim() || null,
      email: contact.email.trim() || null,
      may_be_at_address: contact.mayBeAtAddress,
    })),
  };
}

/** Why the draft cannot be saved, in one sentence, or null. The server has the last word on numbers and addresses. */
export function setupProblem(draft: SetupDraft): string | null {
  if (draft.mode === "code_word" && draft.codeWord.trim() === "") return "Choose a word.";
  if (draft.mode === "decoy" && draft.decoyText.trim() === "") return "Write the message.";
  for (const contact of draft.contacts.filter(isFilledIn)) {
    if (contact.name.trim() === "") return "Give each person a name.";
    if (contact.phone.trim() === "" && contact.email.trim() === "") return `A phone number or an e-mail address for ${contact.name.trim()}.`;
  }
  return null;
}

export function withContact(draft: SetupDraft): SetupDraft {
  const key = Math.max(-1, ...draft.contacts.map((contact) => contact.key)) + 1;
  return { ...draft, contacts: [...draft.contacts, { key, name: "", phone: "", email: "", mayBeAtAddress: false }] };
}

/** Why two PINs cannot be set, or null: the server's rules, told before it is asked. */
export function pinProblem(safe: string, duress: string): string | null {
  if (!PIN.test(safe) || !PIN.test(duress)) return "4 to 8 digits each.";
  const shorter = Math.min(safe.length, duress.length);
  let apart = Math.abs(safe.length - duress.length);
  for (let at = 0; at < shorter; at += 1) if (safe[at] !== duress[at]) apart += 1;
  return apart < DIFFERENT_DIGITS_MIN ? "The two must differ in at least two digits." : null;
}

const isFilledIn = (contact: ContactDraft): boolean => `${contact.name}${contact.phone}${contact.email}`.trim() !== "";
