import { useEffect, useState } from "react";

import { useStore } from "zustand";

import { sentenceOf } from "../../shared/protocol/problem";
import { clockTime, durationWords } from "../../shared/ui/time";
import { useDesk } from "../deskContext";
import type { Candidate, Decision } from "./dispatch";

/** Every decision of the matcher for a booking: who was compared, what each term of the cost was, who was ruled out. */
export function WhyThisWorker({ bookingId, version }: { readonly bookingId: string; readonly version: number }) {
  const desk = useDesk();
  const [decisions, setDecisions] = useState<readonly Decision[] | null>(null);
  const [problem, setProblem] = useState<string | null>(null);
  useEffect(() => {
    let isCurrent = true;
    desk.decisions(bookingId).then(
      (found) => {
        if (isCurrent) setDecisions(found);
      },
      (error: unknown) => {
        if (isCurrent) setProblem(sentenceOf(error));
      },
    );
    return () => {
      isCurrent = false;
    };
  }, [desk, bookingId, version]);

  return (
    <section className="why" data-testid="why">
      <h3>Why this worker</h3>
      {problem && <p className="faint small">Not available: {problem}</p>}
      {decisions?.length === 0 && <p className="faint small">No decision has been taken yet.</p>}
      {decisions?.map((decision) => (
        <DecisionView key={decision.key} decision={decision} />
      ))}
    </section>
  );
}

function DecisionView({ decision }: { readonly decision: Decision }) {
  const worst = Math.max(...decision.candidates.map((candidate) => candidate.cost), 1e-9);
  return (
    <div className="decision" data-testid="decision">
      <p className="small quiet">
        {decision.at && `${clockTime(decision.at)} · `}
        {decision.outcome.replaceAll("_", " ")}
        {decision.tookUs !== null && ` · decided in ${(decision.tookUs / 1000).toFixed(1)} ms`}
      </p>
      <ol>
        {decision.candidates.map((candidate, index) => (
          <CandidateRow key={candidate.key} candidate={candidate} rank={index + 1} worst={worst} isChosen={candidate.key === decision.chosenWorkerId} />
        ))}
      </ol>
      {decision.ruledOut.length > 0 && (
        <p className="faint small">
          {decision.lookedAt !== null && `${decision.lookedAt.toLocaleString("en")} looked at. `}
          Ruled out: {decision.ruledOut.map(({ reason, count }) => `${count.toLocaleString("en")} ${reason.replaceAll("_", " ")}`).join(", ")}
        </p>
      )}
    </div>
  );
}

interface CandidateRowProps {
  readonly candidate: Candidate;
  readonly rank: number;
  readonly worst: number;
  readonly isChosen: boolean;
}

function CandidateRow({ candidate, rank, worst, isChosen }: CandidateRowProps) {
  const desk = useDesk();
  const person = useStore(desk.people, (state) => (candidate.slot === null ? undefined : state.bySlot.get(candidate.slot)));
  const name = person?.full_name ?? `Worker ${candidate.slot ?? candidate.key.slice(0, 8)}`;
  return (
    <li className="candidate" data-chosen={isChosen} data-testid="candidate">
      <p>
        <b className="rank">{rank}</b>
        <span className="grow clip">
          {name}
          {isChosen && <span className="chosen small">asked</span>}
        </span>
        {candidate.etaS !== null && <span className="faint small">{durationWords(candidate.etaS * 1000)} away</span>}
        <span className="num">{candidate.cost.toFixed(2)}</span>
      </p>
      <span className="cost-bar" aria-hidden="true">
        <i style={{ width: `${Math.max(2, (100 * candidate.cost) / worst)}%` }} />
      </span>
      {candidate.terms.length > 0 && (
        <p className="terms small">
          {candidate.terms.map((term) => (
            <span key={term.name}>
              {term.name} <b>{term.value.toFixed(2)}</b>
            </span>
          ))}
        </p>
      )}
    </li>
  );
}
