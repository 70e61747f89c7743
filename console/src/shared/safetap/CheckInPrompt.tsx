import { useEffect, useMemo } from "react";
import { useStore } from "zustand";

import type { GatewayLink } from "../protocol/socket";
import type { ServerConfig } from "../protocol/types";
import type { Session } from "../session/session";
import { CheckInForm } from "./CheckInForm";
import { CheckInQuestion } from "./checkInQuestion";
import { privacyClient, type LastPlace } from "./privacyClient";

interface CheckInPromptProps {
  readonly config: ServerConfig;
  readonly session: Session;
  readonly link: GatewayLink;
  readonly place: () => LastPlace | undefined;
  /** Changes when the job moves on, which answers the question as well. */
  readonly jobKey: string;
}

/** The question whether all is well, the same for a planned check-in and for a sign of trouble; nothing while none is asked. */
export function CheckInPrompt({ config, session, link, place, jobKey }: CheckInPromptProps) {
  const client = useMemo(() => privacyClient(config, session), [config, session]);
  const question = useMemo(() => new CheckInQuestion({ on: (event, listener) => link.on(event, listener), watchedJobs: () => client.watchedJobs() }), [client, link]);
  useEffect(() => question.start(), [question]);
  useEffect(() => void question.look(), [question, jobKey]);
  const isAsked = useStore(question.store, (state) => state.isAsked);
  if (!isAsked) return null;
  return (
    <section className="card check-in" aria-labelledby="check-in-title" data-testid="check-in-prompt">
      <h2 id="check-in-title">Is all well?</h2>
      <CheckInForm client={client} place={place} onAnswered={(jobs) => question.take(jobs)} />
    </section>
  );
}
