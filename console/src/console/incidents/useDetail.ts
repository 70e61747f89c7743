import { useEffect, useState } from "react";

import type { Incident, IncidentDetail } from "../../shared/protocol/types";
import { useDesk } from "../deskContext";

/** An incident's history and notices, read anew with every version; null until then, and while only a disk has it. */
export function useDetail(incident: Incident | undefined): IncidentDetail | null {
  const { work } = useDesk();
  const [detail, setDetail] = useState<IncidentDetail | null>(null);
  const id = incident?.spooled === true ? undefined : incident?.incident_id;
  const version = incident?.version;
  useEffect(() => {
    if (id === undefined) return;
    let isWanted = true;
    work.detail(id).then(
      (found) => isWanted && setDetail(found),
      () => undefined,
    );
    return () => {
      isWanted = false;
    };
  }, [work, id, version]);
  return detail;
}
