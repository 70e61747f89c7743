import { useEffect, useState } from "react";

import type { Incident, IncidentContact, IncidentEvent } from "../../shared/protocol/types";
import { Glyph } from "../../shared/ui/Glyph";
import { useDesk } from "../deskContext";
import { Chat } from "./Chat";
import { contactWords } from "./words";

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
        {contact && contact.contacts.length > 0 && <OwnContacts contact={contact} />}
      </section>
      {contact?.may_chat && <Chat incident={incident} contact={contact} events={events} />}
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
