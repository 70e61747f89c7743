import { useEffect, useState } from "react";

import { Outcome } from "./Outcome";
import type { PrivacyClient } from "./privacyClient";
import { CONTACTS_MAX, draftOf, setupOf, setupProblem, withContact, type ContactDraft, type ContactMode, type SetupDraft } from "./setupDraft";
import { useAction } from "./useAction";

const MODES: readonly { readonly mode: ContactMode; readonly title: string; readonly words: string }[] = [
  { mode: "none", title: "Nobody contacts me", words: "Help acts without a sign to this phone." },
  { mode: "decoy", title: "A message that means nothing to others", words: "You get the text that you write here. Silent messages are possible." },
  { mode: "code_word", title: "A call with a word of mine", words: "Say the word and the caller knows. Silent messages are possible." },
];

/** Whether and how anybody gets in touch, and who else is told. */
export function ContactSection({ client, isWorker }: { readonly client: PrivacyClient; readonly isWorker: boolean }) {
  const action = useAction();
  const [draft, setDraft] = useState<SetupDraft | null>(null);
  const [problem, setProblem] = useState<string | null>(null);
  useEffect(() => {
    let isWanted = true;
    client.load().then(
      (setup) => isWanted && setDraft(draftOf(setup)),
      () => isWanted && setProblem("This could not be read. Close it and open it again."),
    );
    return () => {
      isWanted = false;
    };
  }, [client]);
  if (!draft) return <p role="status">{problem ?? "Loading…"}</p>;
  const change = (part: Partial<SetupDraft>): void => setDraft({ ...draft, ...part });
  return (
    <form
      className="quiet-form"
      onSubmit={(event) => {
        event.preventDefault();
        const missing = setupProblem(draft);
        if (missing) action.fail(missing);
        else
          action.run(async () => {
            setDraft(draftOf(await client.change(setupOf(draft))));
            return "Saved.";
          });
      }}
    >
      <ModeChoice draft={draft} change={change} />
      <ContactRows draft={draft} setDraft={setDraft} />
      {isWorker && (
        <label className="choice">
          <input type="checkbox" checked={draft.isVolunteer} onChange={(event) => change({ isVolunteer: event.currentTarget.checked })} />
          <span>
            I may be asked to look after others nearby
            <small>From outside only, and only with the training for it.</small>
          </span>
        </label>
      )}
      <button type="submit" className="button primary" disabled={action.isBusy} data-testid="save-setup">
        Save
      </button>
      <Outcome action={action} />
    </form>
  );
}

function ModeChoice({ draft, change }: { readonly draft: SetupDraft; readonly change: (part: Partial<SetupDraft>) => void }) {
  return (
    <>
      <fieldset className="choices">
        <legend>When something is wrong</legend>
        {MODES.map(({ mode, title, words }) => (
          <label key={mode} className="choice">
            <input type="radio" name="contact-mode" checked={draft.mode === mode} onChange={() => change({ mode })} data-testid={`mode-${mode}`} />
            <span>
              {title}
              <small>{words}</small>
            </span>
          </label>
        ))}
      </fieldset>
      {draft.mode === "code_word" && (
        <label>
          The word
          <input autoComplete="off" value={draft.codeWord} onChange={(event) => change({ codeWord: event.currentTarget.value })} data-testid="code-word" />
        </label>
      )}
      {draft.mode === "decoy" && (
        <label>
          The message
          <textarea rows={2} value={draft.decoyText} onChange={(event) => change({ decoyText: event.currentTarget.value })} data-testid="decoy-text" />
        </label>
      )}
    </>
  );
}

function ContactRows({ draft, setDraft }: { readonly draft: SetupDraft; readonly setDraft: (draft: SetupDraft) => void }) {
  const put = (contact: ContactDraft): void => setDraft({ ...draft, contacts: draft.contacts.map((each) => (each.key === contact.key ? contact : each)) });
  return (
    <>
      {draft.contacts.map((contact, at) => (
        <fieldset key={contact.key} className="choices contact-row" data-testid="contact">
          <legend>Person {at + 1}</legend>
          <label>
            Name
            <input autoComplete="off" value={contact.name} onChange={(event) => put({ ...contact, name: event.currentTarget.value })} data-testid="contact-name" />
          </label>
          <label>
            Phone, with its country (+351…)
            <input type="tel" autoComplete="off" value={contact.phone} onChange={(event) => put({ ...contact, phone: event.currentTarget.value })} data-testid="contact-phone" />
          </label>
          <label>
            E-mail
            <input type="email" autoComplete="off" value={contact.email} onChange={(event) => put({ ...contact, email: event.currentTarget.value })} />
          </label>
          <label className="choice">
            <input
              type="checkbox"
              checked={contact.mayBeAtAddress}
              onChange={(event) => put({ ...contact, mayBeAtAddress: event.currentTarget.checked })}
              data-testid="contact-at-address"
            />
            <span>
              May be at the address
              <small>Then never told by itself.</small>
            </span>
          </label>
          <button type="button" className="button quiet" onClick={() => setDraft({ ...draft, contacts: draft.contacts.filter(({ key }) => key !== contact.key) })}>
            Remove {contact.name || `person ${at + 1}`}
          </button>
        </fieldset>
      ))}
      {draft.contacts.length < CONTACTS_MAX && (
        <button type="button" className="button" onClick={() => setDraft(withContact(draft))} data-testid="add-contact">
          Add somebody to tell
        </button>
      )}
    </>
  );
}
