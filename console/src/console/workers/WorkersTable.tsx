import { useDeferredValue, useMemo, useState } from "react";
import { useStore } from "zustand";

import { fixNowMs } from "../../shared/protocol/fixClock";
import { WORKER_STATUSES, type CellCount, type WorkerDot, type WorkerStatus } from "../../shared/protocol/frames";
import type { WorkerRow } from "../../shared/protocol/types";
import { Glyph, StateTag } from "../../shared/ui/Glyph";
import { useNow } from "../../shared/ui/now";
import { WORKER_LOOKS } from "../../shared/ui/states";
import { durationWords } from "../../shared/ui/time";
import { useDesk } from "../deskContext";
import { PanelHead } from "../PanelHead";
import { go, hashOf } from "../route";

const ROWS_SHOWN = 150;

/** The map as a table: the same workers, by state and age, for who cannot or would rather not see a map. */
export function WorkersTable() {
  const desk = useDesk();
  const picture = useStore(desk.picture);
  const bySlot = useStore(desk.people, (state) => state.bySlot);
  const [statuses, setStatuses] = useState<ReadonlySet<WorkerStatus>>(new Set());
  const [search, setSearch] = useState("");
  const [shown, setShown] = useState(ROWS_SHOWN);
  const words = useDeferredValue(search.toLowerCase());
  const version = picture.version;
  const rows = useMemo(
    () => workerRows(desk.field.dots, bySlot, statuses, words),
    // The field changes in place; its version says when.
    // eslint-disable-next-line react-hooks/exhaustive-deps
    [desk, bySlot, statuses, words, version],
  );
  const toggle = (status: WorkerStatus): void => {
    const next = new Set(statuses);
    if (!next.delete(status)) next.add(status);
    setStatuses(next);
  };
  if (picture.mode === "cells") return <CellsTable cells={picture.cells} />;
  const counts = desk.field.countByStatus();
  return (
    <>
      <PanelHead title="Workers in view" note={`${rows.length.toLocaleString("en")} of ${desk.field.dots.size.toLocaleString("en")}, as the map shows them`} />
      <div className="panel-tools">
        <input type="search" placeholder="Search name or number" aria-label="Search workers" value={search} onChange={(event) => setSearch(event.target.value)} data-testid="worker-search" />
        <div className="chips" role="group" aria-label="States">
          {WORKER_STATUSES.filter((status) => status !== "tracked" || counts.tracked > 0 || statuses.has(status)).map((status) => (
            <button key={status} type="button" className="chip" aria-pressed={statuses.has(status)} onClick={() => toggle(status)}>
              <Glyph look={WORKER_LOOKS[status]} size={10} />
              {WORKER_LOOKS[status].label} <b>{counts[status]}</b>
            </button>
          ))}
        </div>
      </div>
      <div className="panel-body" tabIndex={0} role="region" aria-label="Workers in view">
        {rows.length === 0 ? <p className="empty">Nobody in this view.</p> : <Table rows={rows.slice(0, shown)} bySlot={bySlot} />}
        {rows.length > shown && (
          <div className="panel-more">
            <button type="button" className="button" onClick={() => setShown(shown + ROWS_SHOWN)}>
              Show more
            </button>
          </div>
        )}
      </div>
    </>
  );
}

function Table({ rows, bySlot }: { readonly rows: readonly WorkerDot[]; readonly bySlot: ReadonlyMap<number, WorkerRow> }) {
  const desk = useDesk();
  const now = fixNowMs(desk.config, useNow());
  return (
    <table className="table" data-testid="workers-table">
      <thead>
        <tr>
          <th scope="col">State</th>
          <th scope="col">Worker</th>
          <th scope="col" className="num">
            Battery
          </th>
          <th scope="col" className="num">
            Last fix
          </th>
        </tr>
      </thead>
      <tbody>
        {rows.map((dot) => (
          <tr key={dot.slot} onClick={() => go({ name: "worker", slot: dot.slot })} data-testid="worker-row" data-slot={dot.slot}>
            <td>
              <StateTag look={WORKER_LOOKS[dot.status]} />
            </td>
            <td className="clip">
              <a href={hashOf({ name: "worker", slot: dot.slot })} className="row-link">
                {bySlot.get(dot.slot)?.full_name ?? `Worker ${dot.slot}`}
              </a>
            </td>
            <td className="num faint">{dot.batteryPct === null ? "–" : `${dot.batteryPct} %`}</td>
            <td className="num faint">{durationWords(now - dot.tsMs)}</td>
          </tr>
        ))}
      </tbody>
    </table>
  );
}

function CellsTable({ cells }: { readonly cells: readonly CellCount[] }) {
  const sorted = [...cells].sort((a, b) => b.workers - a.workers).slice(0, ROWS_SHOWN);
  return (
    <>
      <PanelHead title="Workers by cell" note={`${cells.length} cells in view; zoom in for single workers`} />
      <div className="panel-body" tabIndex={0} role="region" aria-label="Workers by cell">
        <table className="table" data-testid="cells-table">
          <thead>
            <tr>
              <th scope="col">H3 cell</th>
              <th scope="col" className="num">
                Workers
              </th>
              <th scope="col" className="num">
                Busy
              </th>
            </tr>
          </thead>
          <tbody>
            {sorted.map((cell) => (
              <tr key={cell.h3}>
                <td>{cell.h3}</td>
                <td className="num">{cell.workers}</td>
                <td className="num">{cell.busy}</td>
              </tr>
            ))}
          </tbody>
        </table>
      </div>
    </>
  );
}

/** Open alarms first, then silent ones, by who was heard of longest ago: silence is a signal. Then by number, so that rows stay put. */
function workerRows(
  dots: ReadonlyMap<number, WorkerDot>,
  bySlot: ReadonlyMap<number, WorkerRow>,
  statuses: ReadonlySet<WorkerStatus>,
  words: string,
): WorkerDot[] {
  const rows = [...dots.values()].filter((dot) => {
    if (statuses.size > 0 && !statuses.has(dot.status)) return false;
    return words === "" || `${bySlot.get(dot.slot)?.full_name ?? ""} ${dot.slot}`.toLowerCase().includes(words);
  });
  const rank = (dot: WorkerDot): number => (dot.status === "tracked" ? 0 : dot.status === "silent" ? 1 : 2);
  return rows.sort((a, b) => rank(a) - rank(b) || (a.status === "silent" ? a.tsMs - b.tsMs : a.slot - b.slot));
}
