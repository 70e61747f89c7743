import { useEffect } from "react";
import { useStore } from "zustand";

import { Age } from "../../shared/ui/Age";
import { StateTag } from "../../shared/ui/Glyph";
import { useNow } from "../../shared/ui/now";
import type { Look } from "../../shared/ui/states";
import { durationWords, stopwatch } from "../../shared/ui/time";
import { useDesk } from "../deskContext";
import { kindWords } from "../incidents/words";
import { PanelHead } from "../PanelHead";
import { hashOf } from "../route";
import { strangeness, type SilentJob } from "./silenceWatch";

const STAGES: Readonly<Record<SilentJob["stage"], Look>> = {
  calm: { label: "As usual", shape: "circle", colour: "--free" },
  asked: { label: "Asked", shape: "diamond", colour: "--offered" },
  climbed: { label: "Now an incident", shape: "alarm", colour: "--alarm" },
};

/** Silence is a signal: who has not been heard of, for how long, against what is usual for them. */
export function SilencePanel() {
  const { silence } = useDesk();
  const { items, outage, heardAtMs, isKept } = useStore(silence.store);
  useEffect(() => silence.watch(), [silence]);
  return (
    <>
      <PanelHead
        title="Not heard of"
        note={
          <>
            {items.length} on a job, looked <Age at={heardAtMs} />
          </>
        }
      />
      {outage && (
        <p className="armed-notice small" role="status" data-testid="outage">
          {outage.silent} of {outage.sampled} phones went silent together: this looks like an outage of a network or of ours, not like them. Since <Age at={outage.since} suffix="" />.
        </p>
      )}
      <div className="panel-body" tabIndex={0} role="region" aria-label="Who has not been heard of" data-testid="silence-list">
        {!isKept && <p className="empty">This server keeps no such list.</p>}
        {isKept && heardAtMs !== null && items.length === 0 && <p className="empty">Nobody is on a job.</p>}
        <ul>
          {items.map((job) => (
            <li key={`${job.booking_id} ${job.person.person_id}`}>
              <SilentRow job={job} />
            </li>
          ))}
        </ul>
      </div>
    </>
  );
}

function SilentRow({ job }: { readonly job: SilentJob }) {
  const now = useNow();
  const ratio = strangeness(job);
  const left = job.climbs_at === null ? null : Date.parse(job.climbs_at) - now;
  return (
    <a className="incident-row" href={hashOf({ name: "booking", id: job.booking_id })} data-testid="silent-row" data-stage={job.stage}>
      <span className="incident-line">
        <StateTag look={STAGES[job.stage]} />
        <strong className="grow clip">{job.person.name}</strong>
        <span className="num">{job.heard_at === null ? "never heard" : <Age at={job.heard_at} />}</span>
      </span>
      {job.stage !== "calm" && (
        <span className="small">
          {job.signal ? kindWords(job.signal) : "Asked"}
          {left !== null && (left > 0 ? `; becomes an incident in ${stopwatch(left)} unless they answer` : "; becomes an incident now")}
          {job.stage === "asked" && job.contact_mode === "code_word" && ". They chose a call with a code word"}
        </span>
      )}
      {ratio !== null && (
        <span className="cost-bar" aria-hidden="true">
          <i style={{ width: `${Math.round(Math.min(1, ratio) * 100)}%` }} />
        </span>
      )}
      <span className="incident-line faint small">
        <span className="grow clip">
          {job.phase.replaceAll("_", " ")} for {durationWords(job.phase_s * 1000)}
          {job.usual_s !== null && `, usually ${durationWords(job.usual_s * 1000)}`} · {job.service_name}
        </span>
        {job.silent_after_s !== null && <span>asked after {durationWords(job.silent_after_s * 1000)}</span>}
      </span>
    </a>
  );
}
