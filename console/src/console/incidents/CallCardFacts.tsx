import { useState } from "react";

import { latLngWords } from "../../shared/map/mercator";
import type { CallCard, IncidentContact } from "../../shared/protocol/types";
import { Glyph } from "../../shared/ui/Glyph";
import { clockTime, durationWords } from "../../shared/ui/time";
import { useDesk } from "../deskContext";
import { useTask } from "../useTask";
import { contactWords } from "./words";

/** What whoever rings the police must be able to say, read when it is asked for: that it was is on record. */
export function CallCardButton({ incidentId }: { readonly incidentId: string }) {
  const { work } = useDesk();
  const [read, setRead] = useState<Read | null>(null);
  const { isBusy, problem, run } = useTask();
  return (
    <section className="actions column">
      <button type="button" className="button wide" disabled={isBusy} onClick={() => run(Promise.all([work.callCard(incidentId), work.contact(incidentId)]).then(([card, contact]) => setRead({ card, contact })))} data-testid="call-card-button">
        Call card
      </button>
      {read && <CallCardFacts {...read} />}
      <p className="form-problem" role="alert">
        {problem}
      </p>
    </section>
  );
}

/** What the card says, and what whoever called chose: both are needed while one speaks. */
interface Read {
  readonly card: CallCard;
  readonly contact: IncidentContact;
}

function CallCardFacts({ card, contact }: Read) {
  const { place, last_fix: fix, numbers } = card;
  const atAddress = contact.contacts.filter((one) => one.may_be_at_address);
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
      <dt>Contact</dt>
      <dd data-testid="card-contact" data-mode={contact.contact_mode}>
        <strong>{contactWords(contact).order}</strong>
        <span className="block">{contactWords(contact).how}</span>
      </dd>
      {atAddress.length > 0 && (
        <>
          <dt>Watched</dt>
          <dd data-testid="card-at-address">
            <strong className="state-tag warning">
              <Glyph look={{ label: "Warning", shape: "triangle", colour: "--offered" }} />
              The address may be watched
            </strong>
            <span className="block">{atAddress.map((one) => one.name).join(", ")} may be there: tell the police, and do not tell them.</span>
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
