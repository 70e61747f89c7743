import { useEffect, useMemo, useRef, useState, type ReactNode } from "react";

import type { ServerConfig } from "../protocol/types";
import type { Session } from "../session/session";
import { CheckInForm } from "./CheckInForm";
import { ContactSection } from "./ContactSection";
import { CUES, keepCue, loadCue } from "./cue";
import { MessageSection } from "./MessageSection";
import { Outcome } from "./Outcome";
import { GivePin, SetPins } from "./PinSection";
import { privacyClient, type LastPlace, type PrivacyClient } from "./privacyClient";
import { QuickKeySection } from "./QuickKeySection";
import type { Cue } from "./setupDraft";
import { SilentMessages } from "./SilentMessages";
import type { SoundRecorder } from "./sound/soundRecorder";
import { SoundSection } from "./sound/SoundSection";
import { TrackerSection } from "./TrackerSection";
import { useAction } from "./useAction";
import "./privacy.css";

export interface PrivacyScreenProps {
  readonly config: ServerConfig;
  readonly session: Session;
  readonly role: "worker" | "customer";
  readonly place: () => LastPlace | undefined;
  readonly sound: SoundRecorder;
  readonly onLeave: () => void;
}

/** Where a person prepares, in a quiet hour, for the case that something is wrong. Looks like any page of settings. */
export default function PrivacyScreen({ config, session, role, place, sound, onLeave }: PrivacyScreenProps) {
  const client = useMemo(() => privacyClient(config, session), [config, session]);
  const heading = useRef<HTMLHeadingElement>(null);
  useEffect(() => heading.current?.focus(), []);
  const isWorker = role === "worker";
  return (
    <section className="privacy" data-testid="privacy" aria-labelledby="privacy-title">
      <button type="button" className="button quiet" onClick={onLeave} data-testid="privacy-back">
        Back
      </button>
      <h2 id="privacy-title" tabIndex={-1} ref={heading} className="stage-title">
        Privacy and safety
      </h2>
      <Part title="All is well" testId="part-check-in">
        <CheckInForm client={client} place={place} />
      </Part>
      <Part title="PIN" testId="part-give-pin">
        <GivePin client={client} place={place} />
      </Part>
      <Part title="Messages" testId="part-messages">
        <SilentMessages client={client} />
      </Part>
      <Part title="Set PINs" testId="part-pins">
        <SetPins client={client} />
      </Part>
      <Part title="Who gets in touch, who is told" testId="part-contacts">
        <ContactSection client={client} isWorker={isWorker} />
      </Part>
      <Part title="The mark of this app" testId="part-mark">
        <MarkChoice client={client} />
      </Part>
      <Part title="Sound" testId="part-sound">
        <SoundSection client={client} sound={sound} />
      </Part>
      <Part title="From a locked phone" testId="part-keys">
        <QuickKeySection client={client} safetapUrl={config.safetap_url} />
      </Part>
      <Part title="By text message" testId="part-text">
        <MessageSection client={client} />
      </Part>
      {isWorker && (
        <Part title="Tracker app" testId="part-tracker">
          <TrackerSection client={client} />
        </Part>
      )}
    </section>
  );
}

/** One thing in sight at a time; what is closed asks the server nothing. */
function Part({ title, testId, children }: { readonly title: string; readonly testId: string; readonly children: ReactNode }) {
  const [isOpen, setOpen] = useState(false);
  return (
    <details className="card privacy-part" open={isOpen} onToggle={(event) => setOpen(event.currentTarget.open)} data-testid={testId}>
      <summary>{title}</summary>
      {isOpen && children}
    </details>
  );
}

function MarkChoice({ client }: { readonly client: PrivacyClient }) {
  const action = useAction();
  const [chosen, setChosen] = useState(loadCue);
  const choose = (cue: Cue): void =>
    action.run(async () => {
      await client.change({ cue });
      keepCue(cue);
      setChosen(cue);
      return "Saved.";
    });
  return (
    <fieldset className="choices">
      <legend>Hold the name at the top for two seconds, or tap it three times, to call for help. What tells you that it arrived:</legend>
      {CUES.map(({ cue, words }) => (
        <label key={cue} className="choice">
          <input type="radio" name="cue" checked={chosen === cue} onChange={() => choose(cue)} data-testid={`cue-${cue}`} />
          {words}
        </label>
      ))}
      <Outcome action={action} />
    </fieldset>
  );
}
