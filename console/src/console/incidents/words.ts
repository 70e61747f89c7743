import type { Incident, IncidentNotice, TriggerKind } from "../../shared/protocol/types";
import { ALARM_LOOK, type Look } from "../../shared/ui/states";

export const KIND_WORDS: Readonly<Record<TriggerKind, string>> = {
  button: "Button pressed",
  hold: "Silent: long press",
  gesture: "Silent: gesture",
  duress_pin: "Silent: duress PIN",
  drill: "Drill",
};

export function incidentLook(incident: Incident): Look {
  if (incident.state === "open") return { ...ALARM_LOOK, label: "Open" };
  if (incident.state === "acknowledged") return { label: "Acknowledged", shape: "half", colour: "--busy" };
  return { label: "Closed", shape: "check", colour: "--free" };
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
export const EVENT_WORDS: Readonly<Record<string, string>> = {
  triggered: "Called for help",
  retriggered: "Called again",
  step: "Next step of the ladder",
  broadcast: "Everybody was told",
  lapsed: "Not closed in time: the ladder starts anew",
  notified: "Delivered",
  notice_failed: "Could not be delivered",
  acknowledged: "Taken",
  handed_over: "Handed over",
  read: "Read",
  note: "Note",
  chat: "Message",
  police_reference: "Police reference",
  false_alarm: "Marked as a false alarm, or not",
  evidence: "Evidence begins",
  evidence_complete: "Evidence is whole",
  safe_pin: "Safe PIN",
  duress: "Duress PIN",
  wrong_pin: "Wrong PIN",
  closed: "Closed",
  hold_released: "Hold lifted",
};

const NOTICE_STATES: Readonly<Record<IncidentNotice["state"], string>> = {
  pending: "under way",
  sent: "sent",
  failed: "failed",
};

export function noticeWords(notice: IncidentNotice): string {
  const again = notice.loop > 0 ? `, round ${notice.loop + 1}` : "";
  return `Step ${notice.step}${again}: ${notice.channel} to ${notice.target.replace(/:.*/, "")}, ${NOTICE_STATES[notice.state]}`;
}
