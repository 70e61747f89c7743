import { useEffect, useState } from "react";

import { useStore } from "zustand";

import { sentenceOf } from "../../shared/protocol/problem";
import { clockTime, durationWords } from "../../shared/ui/time";
import { useDesk } from "../deskContext";
import type { Candidate, CostTerm, Decision, NearLoser } from "./why";

/**
 * Every decision of the matcher for a booking, the newest first and open: who was weighed, what each term of the cost
 * was, which rule excluded whom, and what would have had to be different.
 */
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
      {decisions?.map((decision, index) => (
        <DecisionView key={decision.key} decision={decision} isOpen={index === 0} />
      ))}
    </section>
  );
}

function DecisionView({ decision, isOpen }: { readonly decision: Decision; readonly isOpen: boolean }) {
  const worst = Math.max(...decision.candidates.map((candidate) => candidate.cost), 1e-9);
  return (
    <details className="decision" data-testid="decision" open={isOpen}>
      <summary className="small quiet">
        {decision.at && `${clockTime(decision.at)} · `}
        {decision.outcome.replaceAll("_", " ")}
        {decision.reason !== null && `: ${decision.reason}`}
        {decision.tookUs !== null && ` · decided in ${(decision.tookUs / 1000).toFixed(1)} ms`}
      </summary>
      {decision.isDamaged && <p className="panel-problem small">The record of this decision is damaged: its bytes are not those that were written.</p>}
      <ol>
        {decision.candidates.map((candidate, index) => (
          <CandidateRow key={candidate.key} candidate={candidate} rank={index + 1} worst={worst} />
        ))}
      </ol>
      <NearLosers losers={decision.nearLosers} />
      <p className="faint small">{summaryOf(decision)}</p>
    </details>
  );
}

function summaryOf({ lookedAt, ruledOut, together, policy }: Decision): string {
  const sentences = [];
  if (lookedAt !== null) sentences.push(`${lookedAt.toLocaleString("en")} looked at.`);
  if (ruledOut.length > 0) sentences.push(`Ruled out: ${ruledOut.map(({ reason, count }) => `${count.toLocaleString("en")} ${reason}`).join(", ")}.`);
  if (together !== null) sentences.push(`Decided together with ${together} other ${together === 1 ? "booking" : "bookings"}.`);
  if (policy !== null) sentences.push(`Policy ${policy}.`);
  return sentences.join(" ");
}

interface CandidateRowProps {
  readonly candidate: Candidate;
  readonly rank: number;
  readonly worst: number;
}

function CandidateRow({ candidate, rank, worst }: CandidateRowProps) {
  return (
    <li className="candidate" data-chosen={candidate.answer !== null} data-testid="candidate">
      <p>
        <b className="rank">{rank}</b>
        <span className="grow clip">
          <WorkerName of={candidate} />
          {candidate.answer !== null && <span className="chosen small">asked: {candidate.answer.replaceAll("_", " ")}</span>}
        </span>
        {candidate.etaS !== null && <span className="faint small">{durationWords(candidate.etaS * 1000)} away</span>}
        <span className="num">{candidate.cost.toFixed(2)}</span>
      </p>
      <span className="cost-bar" aria-hidden="true">
        <i style={{ width: `${Math.max(2, (100 * candidate.cost) / worst)}%` }} />
      </span>
      <Terms terms={candidate.terms} sign="" />
      {candidate.needed !== null && (
        <p className="terms small" data-testid="needed">
          <span>would have had {candidate.needed}</span>
          {candidate.against.length > 0 && <span>dearer by</span>}
          {candidate.against.map((term) => (
            <TermView key={term.name} term={term} sign="+" />
          ))}
        </p>
      )}
    </li>
  );
}

function Terms({ terms, sign }: { readonly terms: readonly CostTerm[]; readonly sign: string }) {
  if (terms.length === 0) return null;
  return (
    <p className="terms small">
      {terms.map((term) => (
        <TermView key={term.name} term={term} sign={sign} />
      ))}
    </p>
  );
}

function TermView({ term, sign }: { readonly term: CostTerm; readonly sign: string }) {
  return (
    <span>
      {term.name}{" "}
      <b>
        {sign}
        {term.value.toFixed(2)}
      </b>
    </span>
  );
}

function NearLosers({ losers }: { readonly losers: readonly NearLoser[] }) {
  if (losers.length === 0) return null;
  return (
    <details className="near-losers" data-testid="near-losers">
      <summary className="small">
        {losers.length} near {losers.length === 1 ? "loser" : "losers"}: excluded by a rule
      </summary>
      <ul>
        {losers.map((loser) => (
          <li key={loser.key} className="candidate" data-testid="near-loser">
            <p>
              <span className="grow clip">
                <WorkerName of={loser} />
                {loser.rules.map((rule) => (
                  <span key={rule} className="chosen small">
                    {rule}
                  </span>
                ))}
              </span>
              {loser.placeWithout !== null && <span className="faint small">would rank {loser.placeWithout}</span>}
            </p>
            {loser.needed !== null && <p className="terms small">would have needed {loser.needed}</p>}
          </li>
        ))}
      </ul>
    </details>
  );
}

function WorkerName({ of }: { readonly of: Candidate | NearLoser }) {
  const desk = useDesk();
  const person = useStore(desk.people, (state) => (of.slot === null ? undefined : state.bySlot.get(of.slot)));
  return <>{of.name ?? person?.full_name ?? `Worker ${of.slot ?? of.key.slice(0, 8)}`}</>;
}
