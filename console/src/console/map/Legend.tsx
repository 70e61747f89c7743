import { useStore } from "zustand";

import { fixNowMs } from "../../shared/protocol/fixClock";
import { WORKER_STATUSES } from "../../shared/protocol/frames";
import { useNow } from "../../shared/ui/now";
import { Glyph } from "../../shared/ui/Glyph";
import { WORKER_LOOKS } from "../../shared/ui/states";
import { durationWords } from "../../shared/ui/time";
import { useDesk } from "../deskContext";

/** What the shapes mean, how many of each are in view, and how old the picture is. */
export function Legend() {
  const desk = useDesk();
  const picture = useStore(desk.picture);
  const now = useNow();
  const scale = desk.config.clock?.scale;
  const age = picture.atMs === null ? null : durationWords(Math.min(Math.abs(now - picture.atMs), Math.abs(fixNowMs(desk.config, now) - picture.atMs)));
  if (picture.mode === "cells") {
    const workers = picture.cells.reduce((sum, cell) => sum + cell.workers, 0);
    const busy = picture.cells.reduce((sum, cell) => sum + cell.busy, 0);
    return (
      <p className="legend" data-testid="legend">
        <span>
          <b>{workers.toLocaleString("en")}</b> workers, <b>{busy.toLocaleString("en")}</b> busy in <b>{picture.cells.length}</b> cells
        </span>
        <span className="faint">{age ? `${age} old` : "no data yet"} · zoom in for people</span>
      </p>
    );
  }
  const counts = desk.field.countByStatus();
  return (
    <p className="legend" data-testid="legend">
      {WORKER_STATUSES.filter((status) => status !== "tracked" || counts.tracked > 0).map((status) => (
        <span key={status} className="state-tag">
          <Glyph look={WORKER_LOOKS[status]} />
          {WORKER_LOOKS[status].label} <b>{counts[status].toLocaleString("en")}</b>
        </span>
      ))}
      <span className="faint">
        in view, {age ? `${age} old` : "no data yet"}
        {scale ? ` · replay at ${scale}×` : ""}
      </span>
    </p>
  );
}
