import { useEffect, useState } from "react";

import type { Incident, IncidentContact, IncidentEvent } from "../../shared/protocol/types";
import { Glyph } from "../../shared/ui/Glyph";
import { clockTime } from "../../shared/ui/time";
import { useDesk } from "../deskContext";
import { useTask } from "../useTask";
import { Chat } from "./Chat";
import { contactWords, decoySentAt } from "./words";

/** Whether and how the person may be reached, as large as it matters; their own contacts; the chat where they chose it. */
export function ContactChoice({ incident, events }: { readonly incident: Incident; readonly events: readonly IncidentEvent[] }) {
  const { work } = useDesk();
  const [contact, setContact] = useState<IncidentContact | null>(null);
  const id = incident.incident_id;
  useEffect(() => {
    let isWanted = true;
    work.contact(id).then(
      (found) => isWanted && setContact(found),
      () => undefined,
    );
    return () => {
      isWanted = false;
    };
  }, [work, id]);
  // Until it is known the strictest holds.
  const words = contact ? contactWords(contact) : { order: "Do not contact", how: "What this person chose is not known yet." };
  return (
    <>
      <section className="contact-mode" aria-label="How this person may be contacted" data-testid="contact-mode" data-mode={contact?.contact_mode ?? "unknown"}>
        <p className="contact-order">{words.order}</p>
        <p className="small">{words.how}</p>
        {contact?.contact_mode === "decoy" && incident.state !== "closed" && <DecoyButton incidentId={id} sentAt={decoySentAt(events)} />}
        {contact && contact.contacts.length > 0 && <OwnContacts contact={contact} />}
      </section>
      {contact?.may_chat && <Chat incident={incident} contact={contact} events={events} />}
    </>
  );
}

/** Their own words to their own phone: the one message that they asked for beforehand. */
function DecoyButton({ incidentId, sentAt }: { readonly incidentId: string; readonly sentAt: string | null }) {
  const { work } = useDesk();
  const { isBusy, problem, run } = useTask();
  return (
    <>
      <button type="button" className="button wide" disabled={isBusy} onClick={() => run(work.sendDecoy(incidentId))} data-testid="send-decoy">
        {sentAt === null ? "Send their decoy message" : "Send their decoy message again"}
      </button>
      <p className="small faint" role="status" data-testid="decoy-sent">
        {sentAt !== null && `Handed to the sender at ${clockTime(sentAt)}; “Told” says what became of it.`}
      </p>
      <p className="form-problem" role="alert">
        {problem}
      </p>
    </>
  );
}

function OwnContacts({ contact }: { readonly contact: IncidentContact }) {
  return (
    <>
      <h3>Their own contacts</h3>
      <ul data-testid="own-contacts">
        {contact.contacts.map((one) => (
          <li key={`${one.name} ${one.phone ?? ""}`}>
            {one.name} <span className="faint">{[one.phone, one.email].filter(Boolean).join(", ")}</span>
            {one.may_be_at_address && (
              <strong className="state-tag warning" data-testid="may-be-at-address">
                <Glyph look={{ label: "Warning", shape: "triangle", colour: "--offered" }} />
                May be at the address: do not tell them
              </strong>
            )}
          </li>
        ))}
      </ul>
    </>
  );
}
