import { useEffect } from "react";
import { useStore } from "zustand";

import { latLngWords } from "../../shared/map/mercator";
import type { Address, Incident, IncidentEvent } from "../../shared/protocol/types";
import { Age } from "../../shared/ui/Age";
import { Glyph, StateTag } from "../../shared/ui/Glyph";
import { useNow } from "../../shared/ui/now";
import { clockTime, stopwatch } from "../../shared/ui/time";
import { useDesk } from "../deskContext";
import { PanelHead } from "../PanelHead";
import { go, hashOf } from "../route";
import { ContactChoice } from "./ContactChoice";
import { IncidentActions } from "./IncidentActions";
import { IncidentRecord } from "./IncidentRecord";
import { Marks } from "./IncidentQueue";
import { useDetail } from "./useDetail";
import { incidentLook, kindWords, marksOf } from "./words";

const NO_EVENTS: readonly IncidentEvent[] = [];

/** One alarm: who, where, since when, what happens next without a human, and what a human does about it. */
export function IncidentPanel({ incidentId }: { readonly incidentId: string }) {
  const { work } = useDesk();
  const incident = useStore(work.store, (state) => state.byId.get(incidentId));
  const replacedBy = useStore(work.store, (state) => state.replacedBy.get(incidentId));
  const detail = useDetail(incident);
  useEffect(() => {
    work.selection.setState({ id: incidentId });
    work.asked.setState({ what: null });
  }, [work, incidentId]);
  useEffect(() => {
    // What was shown from a door's memory is part of that one: go where it is worked.
    if (!incident && replacedBy) go({ name: "incident", id: replacedBy });
  }, [incident, replacedBy]);

  if (!incident) {
    return (
      <>
        <PanelHead title="Incident" back={{ name: "incidents" }} />
        <p className="empty">Not heard of here. It may belong to another organisation.</p>
      </>
    );
  }
  const marks = marksOf(incident);
  const events = detail?.events ?? NO_EVENTS;
  return (
    <>
      <PanelHead title={incident.person.name} note={`${incident.person.role} · ${kindWords(incident.kind)}`} back={{ name: "incidents" }} />
      <div className="panel-body padded" tabIndex={0} role="region" aria-label="Incident" data-testid="incident-panel" data-id={incident.incident_id} data-state={incident.state} data-drill={incident.is_drill} data-close={incident.close_asked ? "asked" : "not asked"}>
        {marks.length > 0 && <Marks marks={marks} />}
        <IncidentHeadline incident={incident} />
        {incident.spooled === true ? (
          <p className="quiet" data-testid="spooled-note">
            Only a door's disk has this alarm yet: the database is away. It cannot be acknowledged here until it is back; the first step of the ladder goes out all the same.
          </p>
        ) : (
          <>
            <ContactChoice incident={incident} events={events} />
            <IncidentActions key={incident.state} incident={incident} />
          </>
        )}
        <IncidentFacts incident={incident} address={detail?.address ?? incident.address} />
        {incident.spooled !== true && <IncidentRecord incident={incident} detail={detail} />}
      </div>
    </>
  );
}

function IncidentHeadline({ incident }: { readonly incident: Incident }) {
  const now = useNow();
  const asked = incident.close_asked;
  const end = incident.acknowledged_at ?? incident.closed_at;
  const waited = (end ? Date.parse(end) : now) - Date.parse(incident.opened_at);
  return (
    <div className="incident-headline" data-state={incident.state}>
      <p className="headline">
        <StateTag look={incidentLook(incident)} />
        <span className="big-clock">{stopwatch(waited)}</span>
      </p>
      <p className="small">
        {incident.state === "open"
          ? `Waiting for a human since ${clockTime(incident.opened_at)}. Escalation step ${incident.step}${nextStep(incident, now)}.`
          : `Opened ${clockTime(incident.opened_at)}, answered after ${stopwatch(waited)} by ${incident.acknowledged_by ?? (incident.says_safe_at ? "a safe PIN: a human has still to close" : "nobody")}.`}
      </p>
      {asked && (
        <p className="small" data-testid="close-asked">
          {asked.name} asked to close at {clockTime(asked.at)}: “{asked.reason}”. It ends when somebody else closes it too; until then the ladder goes on.
        </p>
      )}
      {incident.state === "acknowledged" && incident.next_step_at && <p className="small quiet">Unless it is closed, the ladder starts anew at {clockTime(incident.next_step_at)}.</p>}
    </div>
  );
}

function nextStep(incident: Incident, nowMs: number): string {
  if (!incident.next_step_at) return "";
  const left = Date.parse(incident.next_step_at) - nowMs;
  return left > 0 ? `, the next in ${stopwatch(left)}` : ", the next is due";
}

/** `address`: from the detail once that is there, since what every desk hears holds no entry notes. */
function IncidentFacts({ incident, address }: { readonly incident: Incident; readonly address: Address | null }) {
  const desk = useDesk();
  const { fix } = incident;
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
      <dt>Sender</dt>
      <dd data-testid="trust">
        {incident.trust === "unverified" ? (
          <span className="state-tag">
            <Glyph look={{ label: "Unverified", shape: "diamond", colour: "--offered" }} />
            not verified: nothing vouches that it came from this person
          </span>
        ) : (
          "verified"
        )}
      </dd>
      {incident.acknowledged_by && (
        <>
          <dt>Taken by</dt>
          <dd data-testid="taken-by">
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
