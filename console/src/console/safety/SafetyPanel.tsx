import { useEffect, useState } from "react";
import { useStore } from "zustand";

import type { ArmedDesk, IncidentFigures, IncidentStatistics } from "../../shared/protocol/types";
import { Age } from "../../shared/ui/Age";
import { useDesk } from "../deskContext";
import { ArmedNotice } from "../incidents/ArmedNotice";
import { HandOverDialog } from "../incidents/HandOverDialog";
import { PanelHead } from "../PanelHead";
import { Drills } from "./Drills";
import type { DrillPlan } from "./drillPlan";
import { PushSetting } from "./PushSetting";
import { readSafetyState, type SafetyState } from "./safetyState";

const DAYS = 30;
const EVERY_MS = 10_000;

/** Who watches, how fast alarms are answered, drills, the end of a shift, and being told away from the desk. */
export function SafetyPanel() {
  const desk = useDesk();
  const [state, setState] = useState<SafetyState | null>(null);
  // A plan that was set here holds until it is read anew.
  const [changed, setChanged] = useState<DrillPlan | null>(null);
  const plan = changed ?? state?.plan ?? null;
  // This desk is on the list of armed ones: read it anew when that changes.
  const { isArmed } = useStore(desk.watch);
  useEffect(() => {
    let isWanted = true;
    const ask = (): void => {
      readSafetyState(desk.rest, Date.now(), DAYS).then(
        (found) => {
          if (!isWanted) return;
          setState(found);
          setChanged(null);
        },
        () => undefined,
      );
    };
    ask();
    const timer = setInterval(ask, EVERY_MS);
    return () => {
      isWanted = false;
      clearInterval(timer);
    };
  }, [desk, isArmed]);
  return (
    <>
      <PanelHead
        title="Drills and figures"
        note={
          <>
            read <Age at={state?.atMs} />
          </>
        }
      />
      <ArmedNotice />
      <div className="panel-body padded" tabIndex={0} role="region" aria-label="Drills and figures" data-testid="safety-panel">
        <Desks desks={state?.desks ?? []} />
        <Statistics statistics={state?.statistics ?? null} />
        <Drills plan={plan} takePlan={setChanged} />
        <PushSetting />
      </div>
    </>
  );
}

function Desks({ desks }: { readonly desks: readonly ArmedDesk[] }) {
  const { work } = useDesk();
  const [isHandingOver, setHandingOver] = useState(false);
  const [said, setSaid] = useState("");
  return (
    <section>
      <h3>Armed desks</h3>
      {desks.length === 0 && <p className="quiet">None: ladders start at the on-call phone.</p>}
      <ul data-testid="armed-desks">
        {desks.map((one) => (
          <li key={one.desk_id} className="incident-line">
            <span className="grow">{one.name}</span>
            <span className="faint small">
              since <Age at={one.armed_at} suffix="" />
            </span>
          </li>
        ))}
      </ul>
      <button type="button" className="button wide" onClick={() => setHandingOver(true)} data-testid="hand-desk-over">
        Hand this desk over
      </button>
      <p className="quiet small" role="status" data-testid="desk-handed-over">
        {said}
      </p>
      {isHandingOver && (
        <HandOverDialog
          title="Hand this desk over"
          action="Hand the desk over"
          handOver={(to, note) => work.handDeskOver(to, note).then(({ handedOver, kept }) => setSaid(handedOverWords(handedOver, kept)))}
          close={() => setHandingOver(false)}
        >
          <p className="quiet small">All incidents that you have taken go with it. Who hands over to whom is on record.</p>
        </HandOverDialog>
      )}
    </section>
  );
}

function handedOverWords(handedOver: number, kept: number): string {
  const incidents = `${handedOver} ${handedOver === 1 ? "incident" : "incidents"}`;
  return `Handed over with ${incidents}${kept > 0 ? `; ${kept} stayed with you, because they are a party to it` : ""}.`;
}

function Statistics({ statistics }: { readonly statistics: IncidentStatistics | null }) {
  return (
    <section>
      <h3>How fast alarms are answered, last {DAYS} days</h3>
      <table className="table figures-table" data-testid="safety-figures">
        <thead>
          <tr>
            <th scope="col">Seconds from the alarm</th>
            <th scope="col" className="num">
              Real
            </th>
            <th scope="col" className="num">
              Drills
            </th>
          </tr>
        </thead>
        <tbody>
          {FIGURES.map(([label, figure]) => (
            <tr key={label}>
              <th scope="row">{label}</th>
              <td className="num">{statistics ? (figure(statistics.real) ?? "–") : "–"}</td>
              <td className="num">{statistics ? (figure(statistics.drills) ?? "–") : "–"}</td>
            </tr>
          ))}
        </tbody>
      </table>
      <p className="faint small">No person is counted here: neither who called nor who answered.</p>
    </section>
  );
}

const FIGURES: readonly (readonly [string, (figures: IncidentFigures) => string | number | null])[] = [
  ["Acknowledged, p50", ({ acknowledge_p50_s: s }) => secondsWords(s)],
  ["Acknowledged, p99", ({ acknowledge_p99_s: s }) => secondsWords(s)],
  ["Closed, p50", ({ close_p50_s: s }) => secondsWords(s)],
  ["Incidents", ({ incidents }) => incidents],
  ["Not yet closed", ({ open }) => open],
  ["False alarms", ({ false_alarms: count }) => count],
  ["Lapsed and climbed again", ({ lapsed }) => lapsed],
];

function secondsWords(seconds: number | null): string | null {
  return seconds === null ? null : `${seconds < 10 ? seconds.toFixed(1) : Math.round(seconds)} s`;
}
