import type { Incident, IncidentContact, IncidentEvent, IncidentNotice } from "../../shared/protocol/types";
import { ALARM_LOOK, type Look } from "../../shared/ui/states";
import { clockTime } from "../../shared/ui/time";
import { isUnverified } from "./incidentsStore";

const KIND_WORDS: Readonly<Record<string, string>> = {
  button: "Button pressed",
  hold: "Silent: long press",
  gesture: "Silent: gesture",
  duress_pin: "Silent: duress PIN",
  check_in_missed: "Check-in missed",
  silence: "Phone gone silent",
  long_stop: "Stopped for too long",
  off_site: "Left the site mid-job",
  overrun: "Job overruns",
  drill: "Drill",
};

/** What raised an incident; a kind that these pages do not know yet goes by its own name. */
export function kindWords(kind: string): string {
  return KIND_WORDS[kind] ?? kind.replaceAll("_", " ");
}

/** Drills and unverified alarms have a shape and a word of their own, so that nobody takes them for the other. */
export function alarmLook(incident: Incident): Look {
  if (incident.is_drill) return { label: "Drill", shape: "bars", colour: "--busy" };
  if (isUnverified(incident)) return { label: "Unverified", shape: "diamond", colour: "--offered" };
  return ALARM_LOOK;
}

export function incidentLook(incident: Incident): Look {
  if (incident.state !== "closed" && incident.close_asked) return { label: "Close asked: one more person", shape: "half", colour: "--offered" };
  if (incident.state === "open") return { ...alarmLook(incident), label: "Open" };
  if (incident.state === "acknowledged") return { label: "Acknowledged", shape: "half", colour: "--busy" };
  return { label: "Closed", shape: "check", colour: "--free" };
}

/** What must not be overlooked about an incident, in words. */
export function marksOf(incident: Incident): string[] {
  return [
    ...(incident.is_drill ? ["DRILL"] : []),
    ...(isUnverified(incident) ? ["Unverified sender"] : []),
    ...(incident.spooled === true ? ["On a door's disk only"] : []),
    ...(incident.is_false_alarm ? ["False alarm"] : []),
  ];
}

/** What the desk may do to reach the person, as large as it matters. */
export function contactWords(contact: IncidentContact): { readonly order: string; readonly how: string } {
  switch (contact.contact_mode) {
    case "none":
      return { order: "Do not contact", how: "Do not call, do not write: nothing may ring or light up there." };
    case "decoy":
      return { order: "Do not call. Decoy message only", how: `Written to be harmless to other eyes: “${contact.decoy_text ?? ""}”` };
    case "code_word":
      return { order: "Call with the code word only", how: `Their word: “${contact.code_word ?? ""}”. Without it, say nothing and hang up.` };
  }
}

/** What may be sent with one touch. Only what is safe on a screen that somebody else reads. */
export function quickReplies(contact: IncidentContact): readonly string[] {
  const own = contact.contact_mode === "decoy" && contact.decoy_text ? [contact.decoy_text] : [];
  return [...own, "Your order is confirmed.", "Your order is on its way.", "Please confirm your order: 1 yes, 2 no."];
}

/** When the decoy message last went out, or null. */
export function decoySentAt(events: readonly IncidentEvent[]): string | null {
  return events.findLast(({ kind }) => kind === "decoy")?.at ?? null;
}

const REVIEWED = "Reviewed";

/** The reason to close with. One that begins with `Reviewed` also lifts the hold that dispatch keeps on the person and the door. */
export function closingReason(words: string, isReviewed: boolean): string {
  const reason = words.trim();
  return isReviewed && !saysReviewed(reason) ? `${REVIEWED}: ${reason}` : reason;
}

export function saysReviewed(reason: string): boolean {
  return /^\W*reviewed\b/i.test(reason);
}

/** What the history calls things; what it does not know it calls by its own name. */
const EVENT_WORDS: Readonly<Record<string, string>> = {
  triggered: "Called for help",
  retriggered: "Called again",
  step: "Next step of the ladder",
  broadcast: "Everybody was told",
  lapsed: "Not closed in time: the ladder starts anew",
  notified: "Sent",
  notice_failed: "Could not be sent",
  notice_delivered: "Delivered",
  notice_read: "Read by its receiver",
  notice_undelivered: "Not delivered",
  acknowledged: "Taken",
  handed_over: "Handed over",
  read: "Read",
  note: "Note",
  chat: "Message",
  chat_read: "Message seen on their phone",
  police_reference: "Police reference",
  false_alarm: "Marked as a false alarm, or not",
  evidence: "Evidence begins",
  evidence_complete: "Evidence is whole",
  safe_pin: "Safe PIN",
  duress: "Duress PIN",
  wrong_pin: "Wrong PIN",
  vouched: "Vouched for: the alarm is real",
  decoy: "Decoy message goes to their phone",
  close_asked: "Asked to close: a second person has to",
  closed: "Closed",
  hold_released: "Hold lifted",
};

export function eventWords(event: IncidentEvent): string {
  const name = EVENT_WORDS[event.kind] ?? event.kind.replaceAll("_", " ");
  const { what, to_name: toName } = event.body;
  if (event.kind === "handed_over" && typeof toName === "string") return `${name} to ${toName}`;
  if (event.kind === "read" && typeof what === "string") return `${name}: ${what.replaceAll("_", " ")}`;
  return name;
}

/** What somebody wrote with an event. */
export function eventText({ body }: IncidentEvent): string | null {
  for (const name of ["text", "note", "reason", "reference"] as const) {
    const text = body[name];
    if (typeof text === "string" && text !== "") return text;
  }
  return null;
}

const NOTICE_STATES: Readonly<Record<IncidentNotice["state"], string>> = {
  pending: "under way",
  sent: "sent",
  failed: "failed",
};

export function noticeWords(notice: IncidentNotice): string {
  const again = notice.loop > 0 ? `, round ${notice.loop + 1}` : "";
  return `Step ${notice.step}${again}: ${notice.channel} to ${notice.target.replace(/:.*/, "")}, ${noticeState(notice)}`;
}

function noticeState(notice: IncidentNotice): string {
  const tries = notice.state === "pending" && notice.attempts > 1 ? `, attempt ${notice.attempts}` : "";
  if (notice.delivery === null) return NOTICE_STATES[notice.state] + tries;
  const at = notice.delivery_at === null ? "" : ` ${clockTime(notice.delivery_at)}`;
  return `${notice.delivery}${at}`;
}
