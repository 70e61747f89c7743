import { useState } from "react";

import { latLngWords } from "../../shared/map/mercator";
import type { CallCard } from "../../shared/protocol/types";
import { clockTime, durationWords } from "../../shared/ui/time";
import { useDesk } from "../deskContext";
import { useTask } from "../useTask";

/** What whoever rings the police must be able to say, read when it is asked for: that it was is on record. */
export function CallCardButton({ incidentId }: { readonly incidentId: string }) {
  const { work } = useDesk();
  const [card, setCard] = useState<CallCard | null>(null);
  const { isBusy, problem, run } = useTask();
  return (
    <section className="actions column">
      <button type="button" className="button wide" disabled={isBusy} onClick={() => run(work.callCard(incidentId).then(setCard))} data-testid="call-card-button">
        Call card
      </button>
      {card && <CallCardFacts card={card} />}
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
            {latLngWords(fix)} {fix.accuracy_m !== null && `±${Math.round(fix.accuracy_m)} m`} at {clockTime(fix.at)}, {durationWords(fix.age_s * 1000)} old then
          </dd>
        </>
      )}
      {card.police_reference && (
        <>
          <dt>Police reference</dt>
          <dd>{card.police_reference}</dd>
        </>
      )}
    </dl>
  );
}
