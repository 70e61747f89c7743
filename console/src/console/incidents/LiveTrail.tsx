import { useEffect } from "react";
import { useStore } from "zustand";

import { latLngWords } from "../../shared/map/mercator";
import type { Incident } from "../../shared/protocol/types";
import { Age } from "../../shared/ui/Age";
import { useDesk } from "../deskContext";

/** Where the person went since shortly before the alarm, as a line on the map, followed until it is closed. */
export function LiveTrail({ incident }: { readonly incident: Incident }) {
  const { trail } = useDesk().work;
  const { fixes, isFollowed, askedAtMs } = useStore(trail.store);
  const { incident_id: id } = incident;
  const isLive = incident.state !== "closed";
  useEffect(() => trail.follow(id, isLive), [trail, id, isLive]);
  useEffect(() => () => trail.leave(), [trail, id]);
  const newest = fixes.at(-1);
  return (
    <section data-testid="trail" data-fixes={fixes.length}>
      <h3>Trail</h3>
      <p className="small">
        {newest ? (
          <>
            {latLngWords(newest)}
            {newest.accuracy_m !== null && `, ±${Math.round(newest.accuracy_m)} m`}, measured <Age at={newest.ts_ms} />; {fixes.length} {fixes.length === 1 ? "fix" : "fixes"}, asked <Age at={askedAtMs} />
          </>
        ) : (
          "No fix since shortly before the alarm."
        )}
      </p>
      <label className="check">
        <input type="checkbox" checked={isFollowed} onChange={(event) => trail.setFollowed(event.currentTarget.checked)} data-testid="live-trail" />
        Follow on the map
      </label>
    </section>
  );
}
