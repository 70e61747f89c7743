import { useStore } from "zustand";

import type { Incident } from "../../shared/protocol/types";
import { Glyph } from "../../shared/ui/Glyph";
import { useNow } from "../../shared/ui/now";
import { stopwatch } from "../../shared/ui/time";
import { useDesk } from "../deskContext";
import { KEYS } from "../keys";
import { hashOf } from "../route";
import { isUnverified, openAlarms } from "./incidentsStore";
import { alarmLook } from "./words";

/** Cannot be missed and does not shout: stands until a human has taken the alarm. */
export function AlarmBanner() {
  const byId = useStore(useDesk().work.store, (state) => state.byId);
  const alarms = openAlarms(byId);
  const first = alarms[0];
  return (
    <div role="alert" className="alarm-slot">
      {first && <Banner incident={first} others={alarms.length - 1} />}
    </div>
  );
}

function Banner({ incident, others }: { readonly incident: Incident; readonly others: number }) {
  const now = useNow();
  const rank = incident.is_drill ? "drill" : isUnverified(incident) ? "unverified" : "alarm";
  return (
    <a className="alarm-banner" data-rank={rank} href={hashOf({ name: "incident", id: incident.incident_id })} data-testid="alarm-banner">
      <span className="alarm-beat">
        <Glyph look={{ ...alarmLook(incident), colour: rank === "alarm" ? "--alarm-ink" : "--ink" }} size={20} />
      </span>
      <span className="grow clip">
        <strong>
          {incident.is_drill ? "Drill: " : ""}
          {incident.person.name}
        </strong>{" "}
        ({incident.person.role}) asks for help{incident.address ? `, ${incident.address.line}` : ""}
        {rank === "unverified" && ". The sender is not verified"}
      </span>
      {others > 0 && <span>and {others} more</span>}
      {/* Ticks each second: kept out of the live region's announcements. */}
      <span className="alarm-clock" aria-hidden="true">
        {stopwatch(now - Date.parse(incident.opened_at))}
      </span>
      <span className="alarm-open">
        Open <kbd aria-hidden="true">{KEYS.acknowledge.toUpperCase()}</kbd>
      </span>
    </a>
  );
}
