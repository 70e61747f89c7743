import { useEffect, useState } from "react";
import { useStore } from "zustand";

import { latLngWords } from "../../shared/map/mercator";
import { sentenceOf } from "../../shared/protocol/problem";
import type { Incident } from "../../shared/protocol/types";
import { Age } from "../../shared/ui/Age";
import { StateTag } from "../../shared/ui/Glyph";
import { useNow } from "../../shared/ui/now";
import { clockTime, stopwatch } from "../../shared/ui/time";
import { useDesk } from "../deskContext";
import { PanelHead } from "../PanelHead";
import { hashOf } from "../route";
import { IncidentRecord } from "./IncidentRecord";
import { closingReason, incidentLook, KIND_WORDS, saysReviewed } from "./words";

/** One alarm: who, where, since when, what happens next without a human, and the two things a human does. */
export function IncidentPanel({ incidentId }: { readonly incidentId: string }) {
  const desk = useDesk();
  const incident = useStore(desk.incidents, (state) => state.byId.get(incidentId));
  const isKnown = incident !== undefined;
  useEffect(() => {
    const fix = desk.incidents.getState().byId.get(incidentId)?.fix;
    if (fix) desk.flyTo(fix, 16);
  }, [desk, incidentId, isKnown]);

  if (!incident) {
    return (
      <>
        <PanelHead title="Incident" back={{ name: "incidents" }} />
        <p className="empty">Not heard of here. It may belong to another organisation.</p>
      </>
    );
  }
  return (
    <>
      <PanelHead title={incident.person.name} note={`${incident.person.role} · ${KIND_WORDS[incident.kind]}`} back={{ name: "incidents" }} />
      <div className="panel-body padded" data-testid="incident-panel" data-id={incident.incident_id} data-state={incident.state}>
        <IncidentHeadline incident={incident} />
        <IncidentActions key={incident.state} incident={incident} />
        <IncidentFacts incident={incident} />
        <IncidentRecord incident={incident} />
      </div>
    </>
  );
}

function IncidentHeadline({ incident }: { readonly incident: Incident }) {
  const now = useNow();
  const end = incident.acknowledged_at ?? incident.closed_at;
  const waited = (end ? Date.parse(end) : now) - Date.parse(incident.opened_at);
  return (
    <div className="incident-headline" data-state={incident.state}>
      <p className="headline">
        <StateTag look={incidentLook(incident)} />
        {incident.is_drill && <span className="chosen small">drill</span>}
        <span className="big-clock">{stopwatch(waited)}</span>
      </p>
      <p className="small">
        {incident.state === "open"
          ? `Waiting for a human since ${clockTime(incident.opened_at)}. Escalation step ${incident.step}${nextStep(incident, now)}.`
          : `Opened ${clockTime(incident.opened_at)}, answered after ${stopwatch(waited)} by ${incident.acknowledged_by ?? (incident.says_safe_at ? "a safe PIN: a human has still to close" : "nobody")}.`}
      </p>
    </div>
  );
}

function nextStep(incident: Incident, nowMs: number): string {
  if (!incident.next_step_at) return "";
  const left = Date.parse(incident.next_step_at) - nowMs;
  return left > 0 ? `, the next in ${stopwatch(left)}` : ", the next is due";
}

function IncidentActions({ incident }: { readonly incident: Incident }) {
  const desk = useDesk();
  const [isBusy, setBusy] = useState(false);
  const [problem, setProblem] = useState<string | null>(null);
  const run = (act: Promise<void>): void => {
    setBusy(true);
    setProblem(null);
    act
      .catch((error: unknown) => setProblem(sentenceOf(error)))
      .finally(() => setBusy(false));
  };
  const isReleased = incident.close_reason !== null && saysReviewed(incident.close_reason);
  if (incident.state === "closed" && (isReleased || incident.is_drill)) return null;
  return (
    <div className="actions column">
      {incident.state === "open" && (
        <button
          type="button"
          className="button alarm wide tall"
          autoFocus
          disabled={isBusy}
          onClick={() => run(desk.acknowledge(incident.incident_id))}
          data-testid="acknowledge"
        >
          Acknowledge: I take care of this
        </button>
      )}
      {incident.state === "acknowledged" && (
        <form
          className="actions column"
          onSubmit={(event) => {
            event.preventDefault();
            const form = new FormData(event.currentTarget);
            const reason = form.get("reason");
            run(desk.closeIncident(incident.incident_id, closingReason(typeof reason === "string" ? reason : "", form.has("reviewed"))));
          }}
        >
          <label>
            How it ended
            <textarea name="reason" required rows={2} maxLength={500} data-testid="close-reason" />
          </label>
          {!incident.is_drill && (
            <label className="check">
              <input type="checkbox" name="reviewed" data-testid="reviewed" />
              Looked into: dispatch may ask this person and this door again
            </label>
          )}
          <button type="submit" className="button wide" disabled={isBusy} data-testid="close-incident">
            Close incident
          </button>
        </form>
      )}
      {incident.state === "closed" && (
        <>
          <p className="quiet">Dispatch leaves this person and this door alone until somebody has looked into it.</p>
          <button
            type="button"
            className="button wide"
            disabled={isBusy}
            onClick={() => run(desk.closeIncident(incident.incident_id, closingReason(incident.close_reason ?? "", true)))}
            data-testid="release-hold"
          >
            Looked into: lift the hold
          </button>
        </>
      )}
      <p className="form-problem" role="alert">
        {problem}
      </p>
    </div>
  );
}

function IncidentFacts({ incident }: { readonly incident: Incident }) {
  const desk = useDesk();
  const { fix, address } = incident;
  return (
    <dl className="facts">
      <dt>Position</dt>
      <dd>
        {fix ? (
          <>
            <button type="button" className="link" onClick={() => desk.flyTo(fix, 17)}>
              {latLngWords(fix)}
            </button>
            <span className="faint block">
              {fix.accuracy_m !== null && `±${Math.round(fix.accuracy_m)} m, `}
              measured <Age at={fix.ts_ms} />
            </span>
          </>
        ) : (
          "not known"
        )}
      </dd>
      <dt>Address</dt>
      <dd>
        {address ? (
          <>
            {address.line}
            {address.floor && <span className="block">Floor {address.floor}</span>}
            {address.entry_notes && <span className="block">{address.entry_notes}</span>}
          </>
        ) : (
          "none known"
        )}
      </dd>
      <dt>Booking</dt>
      <dd>{incident.booking_id ? <a href={hashOf({ name: "booking", id: incident.booking_id })}>{incident.booking_id.slice(0, 8)}</a> : "none"}</dd>
      <dt>Severity</dt>
      <dd>{incident.severity}</dd>
      {incident.acknowledged_by && (
        <>
          <dt>Taken by</dt>
          <dd>
            {incident.acknowledged_by}
            {incident.acknowledged_at && <span className="faint"> at {clockTime(incident.acknowledged_at)}</span>}
          </dd>
        </>
      )}
      {incident.close_reason && (
        <>
          <dt>Ended</dt>
          <dd>
            {incident.close_reason}
            {incident.closed_at && <span className="faint"> at {clockTime(incident.closed_at)}</span>}
          </dd>
        </>
      )}
    </dl>
  );
}
