import { useEffect, useState } from "react";

import { latLngWords } from "../../shared/map/mercator";
import { sentenceOf } from "../../shared/protocol/problem";
import type { CallCard, Incident, IncidentDetail, IncidentTrailFix } from "../../shared/protocol/types";
import { Age } from "../../shared/ui/Age";
import { clockTime } from "../../shared/ui/time";
import { useDesk } from "../deskContext";
import { EVENT_WORDS, noticeWords } from "./words";

const TRAIL_EVERY_MS = 5_000;

/** What is on record: the ladder with what was sent and read, the history, the call card, the trail, and what to write down. */
export function IncidentRecord({ incident }: { readonly incident: Incident }) {
  const desk = useDesk();
  const [detail, setDetail] = useState<IncidentDetail | null>(null);
  const { incident_id: id, version } = incident;
  useEffect(() => {
    let isWanted = true;
    desk.incidentDetail(id).then(
      (found) => isWanted && setDetail(found),
      () => undefined,
    );
    return () => {
      isWanted = false;
    };
  }, [desk, id, version]);
  return (
    <>
      <RecordActions incident={incident} />
      {incident.state !== "closed" && <LiveTrail incidentId={id} />}
      {detail && <Ladder detail={detail} />}
      {detail && <History detail={detail} />}
    </>
  );
}

function RecordActions({ incident }: { readonly incident: Incident }) {
  const desk = useDesk();
  const [card, setCard] = useState<CallCard | null>(null);
  const [problem, setProblem] = useState<string | null>(null);
  const id = incident.incident_id;
  const run = (act: Promise<unknown>): void => {
    setProblem(null);
    act.catch((error: unknown) => setProblem(sentenceOf(error)));
  };
  return (
    <section className="actions column">
      <button type="button" className="button wide" onClick={() => run(desk.callCard(id).then(setCard))} data-testid="call-card-button">
        Call card
      </button>
      {card && <CallCardFacts card={card} />}
      <form
        className="actions column"
        onSubmit={(event) => {
          event.preventDefault();
          const form = event.currentTarget;
          const text = new FormData(form).get("note");
          if (typeof text === "string" && text.trim()) run(desk.addNote(id, text).then(() => form.reset()));
        }}
      >
        <label>
          Note
          <textarea name="note" rows={2} maxLength={4000} data-testid="note" />
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
          if (typeof reference === "string" && reference.trim()) run(desk.setPoliceReference(id, reference));
        }}
      >
        <label>
          Police reference
          <input name="reference" maxLength={100} defaultValue={incident.police_reference ?? ""} data-testid="police-reference" />
        </label>
        <button type="submit" className="button wide">
          Save the reference
        </button>
      </form>
      <p className="form-problem" role="alert">
        {problem}
      </p>
    </section>
  );
}

function CallCardFacts({ card }: { readonly card: CallCard }) {
  const { place, last_fix: fix, numbers } = card;
  return (
    <dl className="facts" data-testid="call-card">
      {card.warning && (
        <>
          <dt>Drill</dt>
          <dd>{card.warning}</dd>
        </>
      )}
      {numbers && (
        <>
          <dt>Ring</dt>
          <dd>
            {numbers.emergency} (police {numbers.police}){!numbers.is_known && " - a guess, no numbers of this country are known"}
          </dd>
        </>
      )}
      <dt>People</dt>
      <dd>
        {card.people.map((one) => (
          <span key={one.role} className="block">
            {one.name}, {one.role}
            {one.called_for_help && " (called for help)"} {one.phone}
          </span>
        ))}
      </dd>
      {place && (
        <>
          <dt>Door</dt>
          <dd>
            {place.line}
            <span className="block">
              {place.floor && `Floor ${place.floor}. `}
              {place.entry_notes}
            </span>
          </dd>
        </>
      )}
      {fix && (
        <>
          <dt>Last fix</dt>
          <dd>
            {latLngWords(fix)} {fix.accuracy_m !== null && `±${Math.round(fix.accuracy_m)} m`} at {clockTime(fix.at)}
          </dd>
        </>
      )}
    </dl>
  );
}

/** The newest place since the alarm, asked for again and again; each question is on record. */
function LiveTrail({ incidentId }: { readonly incidentId: string }) {
  const desk = useDesk();
  const [isOn, setOn] = useState(false);
  const [fixes, setFixes] = useState<readonly IncidentTrailFix[]>([]);
  useEffect(() => {
    if (!isOn) return undefined;
    let newest = 0;
    const ask = (): void => {
      desk.incidentTrail(incidentId, newest).then(
        (found) => {
          newest = found.at(-1)?.ts_ms ?? newest;
          setFixes((had) => [...had, ...found].slice(-500));
        },
        () => undefined,
      );
    };
    ask();
    const timer = setInterval(ask, TRAIL_EVERY_MS);
    return () => {
      clearInterval(timer);
      setFixes([]);
    };
  }, [desk, incidentId, isOn]);
  const last = fixes.at(-1);
  useEffect(() => {
    if (last) desk.flyTo(last, 17);
  }, [desk, last]);
  return (
    <section>
      <label className="check">
        <input type="checkbox" checked={isOn} onChange={(event) => setOn(event.currentTarget.checked)} data-testid="live-trail" />
        Follow on the map
      </label>
      {isOn && (
        <p className="small">
          {last ? (
            <>
              {latLngWords(last)}, <Age at={last.ts_ms} />
            </>
          ) : (
            "No trail yet."
          )}
        </p>
      )}
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
          <li key={notice.notice_id} data-state={notice.state}>
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
        {detail.events.map((event) => (
          <li key={event.version} data-state={event.kind}>
            <span className="grow">
              {EVENT_WORDS[event.kind] ?? event.kind}
              {event.actor && <span className="faint small"> by {event.actor}</span>}
              {typeof event.body.text === "string" && <span className="timeline-reason small">{event.body.text}</span>}
            </span>
            <time dateTime={event.at} className="faint small">
              {clockTime(event.at)}
            </time>
          </li>
        ))}
      </ol>
    </section>
  );
}
