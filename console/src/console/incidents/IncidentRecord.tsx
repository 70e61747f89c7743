import { useEffect, useRef } from "react";
import { useStore } from "zustand";

import type { Incident, IncidentDetail } from "../../shared/protocol/types";
import { clockTime } from "../../shared/ui/time";
import { useDesk } from "../deskContext";
import { useTask } from "../useTask";
import { CallCardButton } from "./CallCardFacts";
import { EvidenceList } from "./EvidenceList";
import { LiveTrail } from "./LiveTrail";
import { openInTab, saveAs } from "./savedFile";
import { eventText, eventWords, noticeWords } from "./words";

/** What is on record: the call card, the trail, notes, evidence, the ladder with what was sent and read, the history. */
export function IncidentRecord({ incident, detail }: { readonly incident: Incident; readonly detail: IncidentDetail | null }) {
  const id = incident.incident_id;
  return (
    <>
      <LiveTrail incident={incident} />
      <CallCardButton incidentId={id} />
      <WrittenDown incident={incident} />
      <EvidenceList incident={incident} />
      {detail && <Ladder detail={detail} />}
      {detail && <History detail={detail} />}
      <Reports incidentId={id} />
    </>
  );
}

function WrittenDown({ incident }: { readonly incident: Incident }) {
  const { work } = useDesk();
  const { problem, run } = useTask();
  const note = useRef<HTMLTextAreaElement>(null);
  const asked = useStore(work.asked, (state) => state.what);
  useEffect(() => {
    if (asked !== "note") return;
    work.asked.setState({ what: null });
    note.current?.focus();
  }, [asked, work]);
  const id = incident.incident_id;
  return (
    <section className="actions column">
      <form
        className="actions column"
        onSubmit={(event) => {
          event.preventDefault();
          const form = event.currentTarget;
          const text = new FormData(form).get("note");
          if (typeof text === "string" && text.trim()) run(work.addNote(id, text).then(() => form.reset()));
        }}
      >
        <label>
          Note
          <textarea ref={note} name="note" rows={2} maxLength={4000} data-testid="note" />
        </label>
        <button type="submit" className="button wide">
          Write it down
        </button>
      </form>
      <form
        className="actions column"
        onSubmit={(event) => {
          event.preventDefault();
          const reference = new FormData(event.currentTarget).get("reference");
          if (typeof reference === "string" && reference.trim()) run(work.setPoliceReference(id, reference));
        }}
      >
        <label>
          Police reference
          <input name="reference" maxLength={100} defaultValue={incident.police_reference ?? ""} data-testid="police-reference" />
        </label>
        <button type="submit" className="button wide">
          Keep the reference
        </button>
      </form>
      <p className="form-problem" role="alert">
        {problem}
      </p>
    </section>
  );
}

function Reports({ incidentId }: { readonly incidentId: string }) {
  const { work } = useDesk();
  const { isBusy, problem, run } = useTask();
  return (
    <section>
      <h3>Report</h3>
      <div className="actions">
        <button type="button" className="button" disabled={isBusy} onClick={() => run(work.report(incidentId, "html").then((page) => openInTab(page, `incident-${incidentId}.html`)))} data-testid="report-html">
          Open as a page
        </button>
        <button type="button" className="button" disabled={isBusy} onClick={() => run(work.report(incidentId, "json").then((data) => saveAs(data, `incident-${incidentId}.json`)))} data-testid="report-json">
          Save as JSON
        </button>
      </div>
      <p className="form-problem" role="alert">
        {problem}
      </p>
    </section>
  );
}

function Ladder({ detail }: { readonly detail: IncidentDetail }) {
  if (detail.notices.length === 0) return null;
  return (
    <section data-testid="ladder">
      <h3>Told</h3>
      <ol className="timeline">
        {detail.notices.map((notice) => (
          <li key={notice.notice_id} data-state={notice.state} data-delivery={notice.delivery ?? "unknown"}>
            <span className="grow">
              {noticeWords(notice)}
              {notice.last_error && <span className="timeline-reason small">{notice.last_error}</span>}
            </span>
            <time dateTime={notice.sent_at ?? notice.created_at} className="faint small">
              {clockTime(notice.sent_at ?? notice.created_at)}
            </time>
          </li>
        ))}
      </ol>
    </section>
  );
}

function History({ detail }: { readonly detail: IncidentDetail }) {
  return (
    <section data-testid="history">
      <h3>History</h3>
      <ol className="timeline">
        {detail.events.map((event) => {
          const text = eventText(event);
          return (
            <li key={event.version} data-state={event.kind}>
              <span className="grow">
                {eventWords(event)}
                {event.actor && <span className="faint small"> by {event.actor}</span>}
                {text && <span className="timeline-reason small">{text}</span>}
              </span>
              <time dateTime={event.at} className="faint small">
                {clockTime(event.at)}
              </time>
            </li>
          );
        })}
      </ol>
    </section>
  );
}
