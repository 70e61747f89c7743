import { useEffect, useRef, type Ref } from "react";
import { useStore } from "zustand";

import type { Incident } from "../../shared/protocol/types";
import { useDesk } from "../deskContext";
import { KEYS } from "../keys";
import { useTask } from "../useTask";
import { HandOverDialog } from "./HandOverDialog";
import { isUnverified } from "./incidentsStore";
import { closingReason, saysReviewed } from "./words";

/** What a human does with an alarm: take it, hand it over, close it with a reason, lift its hold later. */
export function IncidentActions({ incident }: { readonly incident: Incident }) {
  const { work } = useDesk();
  const { isBusy, problem, run } = useTask();
  const reason = useRef<HTMLTextAreaElement>(null);
  const asked = useStore(work.asked, (state) => state.what);
  const { incident_id: id, state } = incident;
  useEffect(() => {
    if (asked !== "acknowledge" && asked !== "close") return;
    work.asked.setState({ what: null });
    if (asked === "close") reason.current?.focus();
    else if (state === "open") run(work.acknowledge(id));
    // `run` is new with every render and does the same.
    // eslint-disable-next-line react-hooks/exhaustive-deps
  }, [asked, work, id, state]);
  const isReleased = incident.close_reason !== null && saysReviewed(incident.close_reason);
  if (state === "closed" && (isReleased || incident.is_drill)) return null;
  return (
    <div className="actions column">
      {state === "open" && (
        <button type="button" className="button alarm wide tall" autoFocus disabled={isBusy} onClick={() => run(work.acknowledge(id))} data-testid="acknowledge">
          Acknowledge: I take care of this
        </button>
      )}
      {state !== "closed" && isUnverified(incident) && (
        <>
          <button type="button" className="button wide" disabled={isBusy} onClick={() => run(work.vouch(id))} aria-describedby="vouch-words" data-testid="vouch">
            Vouch: this alarm is real
          </button>
          <p className="faint small" id="vouch-words">
            Until somebody does only the desk and whoever is on call are told. With it the whole ladder begins.
          </p>
        </>
      )}
      {state === "acknowledged" && (
        <>
          <button type="button" className="button wide" disabled={isBusy} onClick={() => work.asked.setState({ what: "hand_over" })} data-testid="hand-over">
            Hand over <kbd aria-hidden="true">{KEYS.handOver.toUpperCase()}</kbd>
          </button>
          <CloseForm incident={incident} isBusy={isBusy} reason={reason} close={(words, isFalseAlarm) => run(work.close(id, words, isFalseAlarm))} />
        </>
      )}
      {state === "closed" && (
        <>
          <p className="quiet">Dispatch leaves this person and this door alone until somebody has looked into it.</p>
          <button type="button" className="button wide" disabled={isBusy} onClick={() => run(work.close(id, closingReason(incident.close_reason ?? "", true)))} data-testid="release-hold">
            Looked into: lift the hold
          </button>
        </>
      )}
      <p className="form-problem" role="alert">
        {problem}
      </p>
      {asked === "hand_over" && state === "acknowledged" && (
        <HandOverDialog title={`Hand over ${incident.person.name}`} action="Hand over" handOver={(to, note) => work.handOver(id, to, note)} close={() => work.asked.setState({ what: null })} notTo={incident.acknowledged_by} />
      )}
    </div>
  );
}

interface CloseFormProps {
  readonly incident: Incident;
  readonly isBusy: boolean;
  readonly reason: Ref<HTMLTextAreaElement>;
  readonly close: (reason: string, isFalseAlarm: boolean) => void;
}

function CloseForm({ incident, isBusy, reason, close }: CloseFormProps) {
  const { personId } = useDesk();
  return (
    <form
      className="actions column"
      onSubmit={(event) => {
        event.preventDefault();
        const form = new FormData(event.currentTarget);
        const words = form.get("reason");
        close(closingReason(typeof words === "string" ? words : "", form.has("reviewed")), form.has("false_alarm"));
      }}
    >
      <label>
        How it ended
        <textarea ref={reason} name="reason" required rows={2} maxLength={500} data-testid="close-reason" />
      </label>
      <label className="check">
        <input type="checkbox" name="false_alarm" defaultChecked={incident.is_false_alarm} data-testid="false-alarm" aria-describedby="false-alarm-words" />
        It was a false alarm
      </label>
      <p className="faint small" id="false-alarm-words">
        A false alarm counts against nobody: it enters no score, no offer and no measure of a person.
      </p>
      {!incident.is_drill && (
        <label className="check">
          <input type="checkbox" name="reviewed" data-testid="reviewed" />
          Looked into: dispatch may ask this person and this door again
        </label>
      )}
      <button type="submit" className="button wide" disabled={isBusy} data-testid="close-incident">
        {closeWords(incident, personId)}
      </button>
    </form>
  );
}

function closeWords({ close_asked: asked }: Incident, personId: string | null): string {
  if (!asked) return "Close incident";
  return asked.person_id === personId ? "Ask again: somebody else has to close it too" : "Close it too, as the second person";
}
