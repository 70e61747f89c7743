import { useEffect, useMemo, useRef, useState } from "react";
import { useStore } from "zustand";

import type { Incident, Orphan } from "../../shared/protocol/types";
import { Age } from "../../shared/ui/Age";
import { Glyph, StateTag } from "../../shared/ui/Glyph";
import { useNow } from "../../shared/ui/now";
import { stopwatch } from "../../shared/ui/time";
import { useDesk } from "../deskContext";
import { KEYS } from "../keys";
import { PanelHead } from "../PanelHead";
import { hashOf } from "../route";
import { ArmedNotice } from "./ArmedNotice";
import { incidentQueue, isUnverified } from "./incidentsStore";
import { incidentLook, kindWords, marksOf } from "./words";

/** Alarms by urgency: the worst that waits without a human stands first. */
export function IncidentQueue() {
  const { work } = useDesk();
  const { byId, heardAtMs } = useStore(work.store);
  const selectedId = useStore(work.selection, (state) => state.id);
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
      <ArmedNotice />
      <div className="panel-body" tabIndex={0} role="region" aria-label="List of incidents">
        {queue.length === 0 && <p className="empty">No incident. SafeTap is listening.</p>}
        <ul data-testid="incident-list">
          {queue.map((incident) => (
            <li key={incident.incident_id}>
              <IncidentRow incident={incident} isSelected={incident.incident_id === selectedId} />
            </li>
          ))}
        </ul>
        <Orphans />
      </div>
      <p className="panel-foot faint small">
        <kbd>{KEYS.next.toUpperCase()}</kbd> <kbd>{KEYS.previous.toUpperCase()}</kbd> move, <kbd>Enter</kbd> open, <kbd>{KEYS.acknowledge.toUpperCase()}</kbd> take
      </p>
    </>
  );
}

function IncidentRow({ incident, isSelected }: { readonly incident: Incident; readonly isSelected: boolean }) {
  const now = useNow();
  const link = useRef<HTMLAnchorElement>(null);
  useEffect(() => {
    if (isSelected) link.current?.focus();
  }, [isSelected]);
  const until = incident.state === "open" ? now : Date.parse(incident.acknowledged_at ?? incident.closed_at ?? incident.opened_at);
  const marks = marksOf(incident);
  return (
    <a
      ref={link}
      className="incident-row"
      href={hashOf({ name: "incident", id: incident.incident_id })}
      data-testid="incident-row"
      data-id={incident.incident_id}
      data-state={incident.state}
      data-drill={incident.is_drill}
      data-trust={isUnverified(incident) ? "unverified" : "verified"}
      data-spooled={incident.spooled === true}
    >
      <span className="incident-line">
        <StateTag look={incidentLook(incident)} />
        <strong className="grow clip">{incident.person.name}</strong>
        <span className="num">{stopwatch(until - Date.parse(incident.opened_at))}</span>
      </span>
      {marks.length > 0 && <Marks marks={marks} />}
      <span className="incident-line faint small">
        <span className="grow clip">
          {kindWords(incident.kind)} · {incident.person.role}
          {incident.address && ` · ${incident.address.line}`}
        </span>
        <span>{incident.state === "open" ? `severity ${incident.severity}, step ${incident.step}` : <Age at={incident.opened_at} />}</span>
      </span>
    </a>
  );
}

export function Marks({ marks }: { readonly marks: readonly string[] }) {
  return (
    <span className="marks small" data-testid="marks">
      {marks.map((mark) => (
        <span key={mark} className="mark">
          {mark}
        </span>
      ))}
    </span>
  );
}

const ORPHANS_EVERY_MS = 15_000;

/** Triggers that nothing vouches for and that name nobody we know: kept, never dropped, below everything else. */
function Orphans() {
  const { work } = useDesk();
  const [orphans, setOrphans] = useState<readonly Orphan[]>([]);
  useEffect(() => {
    let isWanted = true;
    const ask = (): void => {
      work.orphans().then(
        (found) => isWanted && setOrphans(found),
        () => undefined,
      );
    };
    ask();
    const timer = setInterval(ask, ORPHANS_EVERY_MS);
    return () => {
      isWanted = false;
      clearInterval(timer);
    };
  }, [work]);
  if (orphans.length === 0) return null;
  return (
    <section className="orphans" data-testid="orphans">
      <h3>Unverified, of nobody known</h3>
      <ul>
        {orphans.map((orphan) => (
          <li key={orphan.orphan_id} className="incident-line small">
            <Glyph look={{ label: "Unverified", shape: "diamond", colour: "--offered" }} />
            <span className="grow">
              {kindWords(orphan.kind ?? "unreadable")}, through {orphan.door}
            </span>
            <Age at={orphan.received_at} />
          </li>
        ))}
      </ul>
    </section>
  );
}
