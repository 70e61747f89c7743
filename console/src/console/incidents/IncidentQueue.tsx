import { useMemo } from "react";
import { useStore } from "zustand";

import type { Incident } from "../../shared/protocol/types";
import { Age } from "../../shared/ui/Age";
import { StateTag } from "../../shared/ui/Glyph";
import { useNow } from "../../shared/ui/now";
import { stopwatch } from "../../shared/ui/time";
import { useDesk } from "../deskContext";
import { PanelHead } from "../PanelHead";
import { hashOf } from "../route";
import { incidentQueue } from "./incidentsStore";
import { incidentLook, KIND_WORDS } from "./words";

/** Alarms by urgency: who waits longest without a human stands first. */
export function IncidentQueue() {
  const { byId, heardAtMs } = useStore(useDesk().incidents);
  const queue = useMemo(() => incidentQueue(byId), [byId]);
  const open = queue.filter((incident) => incident.state === "open").length;
  return (
    <>
      <PanelHead
        title="Incidents"
        note={
          <>
            {open} open, {queue.length} known, last change heard <Age at={heardAtMs} />
          </>
        }
      />
      <div className="panel-body" tabIndex={0} role="region" aria-label="List of incidents">
        {queue.length === 0 && <p className="empty">No incident. SafeTap is listening.</p>}
        <ul data-testid="incident-list">
          {queue.map((incident) => (
            <li key={incident.incident_id}>
              <IncidentRow incident={incident} />
            </li>
          ))}
        </ul>
      </div>
    </>
  );
}

function IncidentRow({ incident }: { readonly incident: Incident }) {
  const now = useNow();
  const until = incident.state === "open" ? now : Date.parse(incident.acknowledged_at ?? incident.closed_at ?? incident.opened_at);
  return (
    <a className="incident-row" href={hashOf({ name: "incident", id: incident.incident_id })} data-testid="incident-row" data-id={incident.incident_id} data-state={incident.state}>
      <span className="incident-line">
        <StateTag look={incidentLook(incident)} />
        <strong className="grow clip">{incident.person.name}</strong>
        <span className="num">{stopwatch(until - Date.parse(incident.opened_at))}</span>
      </span>
      <span className="incident-line faint small">
        <span className="grow clip">
          {KIND_WORDS[incident.kind]} · {incident.person.role}
          {incident.address && ` · ${incident.address.line}`}
        </span>
        <span>{incident.state === "open" ? `step ${incident.step}` : <Age at={incident.opened_at} />}</span>
      </span>
    </a>
  );
}
