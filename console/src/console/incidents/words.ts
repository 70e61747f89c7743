import type { Incident, TriggerKind } from "../../shared/protocol/types";
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
