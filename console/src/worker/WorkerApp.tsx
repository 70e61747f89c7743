import { useEffect, useState } from "react";
import { useStore } from "zustand";

import { sentenceOf } from "../shared/protocol/problem";
import type { ServerConfig } from "../shared/protocol/types";
import { CheckInPrompt } from "../shared/safetap/CheckInPrompt";
import { PrivacyLink, PrivacyPage } from "../shared/safetap/PrivacyPage";
import type { LastPlace } from "../shared/safetap/privacyClient";
import { QuietMark } from "../shared/safetap/QuietMark";
import { useSilentTrigger } from "../shared/safetap/useSilentTrigger";
import type { Session } from "../shared/session/session";
import { SignIn } from "../shared/session/SignIn";
import { useSession } from "../shared/session/useSession";
import { LinkBadge } from "../shared/ui/LinkBadge";
import "../shared/ui/phone.css";
import { JobCard } from "./JobCard";
import { OfferCard } from "./OfferCard";
import { TrackingLine } from "./TrackingLine";
import { WorkerClient } from "./workerClient";

interface PageProps {
  readonly config: ServerConfig;
  readonly session: Session;
}

/** The worker's page: duty, one offer or one job at a time, and the way home. */
export function WorkerApp({ config, session }: PageProps) {
  const state = useSession(session);
  if (state.phase === "restoring") return null;
  if (state.phase === "signed_out") return <SignIn session={session} title="Work with Clenzy" lead={config.region.name} reason={state.reason} />;
  return <OnShift key={state.person.personId} config={config} session={session} personId={state.person.personId} />;
}

function OnShift({ config, session, personId }: PageProps & { readonly personId: string }) {
  const [client] = useState(() => new WorkerClient(config, session, personId));
  useEffect(() => {
    client.start();
    return () => client.stop();
  }, [client]);
  return <Shift client={client} config={config} session={session} personId={personId} />;
}

interface ShiftProps extends PageProps {
  readonly personId: string;
  readonly client: WorkerClient;
}

function Shift({ client, config, session, personId }: ShiftProps) {
  const { link, duty, offer, booking, skewMs } = useStore(client.state);
  const [isPrivacyOpen, setPrivacyOpen] = useState(false);
  const { progress, gesture, sound } = useSilentTrigger({
    config,
    session,
    link: client.link,
    personId,
    nextSeq: client.nextSeq,
    context: () => {
      const [job, fix] = [client.state.getState().booking, lastPlace(client)];
      return { ...(job ? { booking_id: job.booking_id } : {}), ...(fix ? { fix } : {}) };
    },
  });
  return (
    <div className="phone" data-testid="worker-app" data-duty={duty ?? "unknown"} data-job={booking?.state ?? "none"}>
      <header className="phone-head">
        <QuietMark progress={progress} gesture={gesture} />
        <LinkBadge link={link} />
        <button type="button" className="button quiet" onClick={() => void session.signOut()} data-testid="sign-out">
          Sign out
        </button>
      </header>
      <TrackingLine client={client} />
      <main className="phone-main">
        <CheckInPrompt config={config} session={session} link={client.link} place={() => lastPlace(client)} jobKey={`${booking?.booking_id} ${booking?.state}`} />
        {isPrivacyOpen ? (
          <>
            {/* An offer waits for nobody, and what is being written below stays. */}
            {offer && <OfferCard key={offer.offer_id} offer={offer} client={client} skewMs={skewMs} />}
            <PrivacyPage config={config} session={session} role="worker" place={() => lastPlace(client)} sound={sound} onLeave={() => setPrivacyOpen(false)} />
          </>
        ) : duty === null ? (
          <div className="card skeleton-card" role="status" aria-label="Loading" />
        ) : offer ? (
          <OfferCard key={offer.offer_id} offer={offer} client={client} skewMs={skewMs} />
        ) : booking ? (
          <JobCard key={booking.booking_id} booking={booking} client={client} />
        ) : (
          <Waiting client={client} />
        )}
      </main>
      {!isPrivacyOpen && <PrivacyLink onOpen={() => setPrivacyOpen(true)} />}
    </div>
  );
}

function lastPlace(client: WorkerClient): LastPlace | undefined {
  const { lastFix } = client.tracker.state.getState();
  if (!lastFix) return undefined;
  const { lat, lng, tsMs, accuracyM } = lastFix;
  return { lat, lng, ts_ms: tsMs, ...(accuracyM === undefined ? {} : { accuracy_m: accuracyM }) };
}

function Waiting({ client }: { readonly client: WorkerClient }) {
  const duty = useStore(client.state, (state) => state.duty);
  const [isBusy, setBusy] = useState(false);
  const [problem, setProblem] = useState<string | null>(null);
  const isOn = duty === "on";
  const toggle = async (): Promise<void> => {
    setBusy(true);
    setProblem(null);
    try {
      await client.setDuty(isOn ? "off" : "on");
    } catch (error) {
      setProblem(sentenceOf(error));
    } finally {
      setBusy(false);
    }
  };
  return (
    <section className="center-stage">
      <span className="pulse" data-on={isOn} aria-hidden="true" />
      <h2>{isOn ? "You are on duty" : "You are off duty"}</h2>
      <p className="quiet">{isOn ? "The next job appears here. Keep this page open." : "Go on duty to be asked for jobs near you."}</p>
      <p className="form-problem" role="alert">
        {problem}
      </p>
      <button type="button" className={`button thumb ${isOn ? "" : "primary"}`} disabled={isBusy} onClick={() => void toggle()} data-testid="duty">
        {isOn ? "Go off duty" : "Go on duty"}
      </button>
    </section>
  );
}
