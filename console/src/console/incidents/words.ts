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
