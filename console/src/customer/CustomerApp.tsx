import { useEffect, useState } from "react";
import { useStore } from "zustand";

import type { LatLng, ServerConfig } from "../shared/protocol/types";
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
import { ENDED_STATES } from "../shared/ui/states";
import { BookingForm } from "./BookingForm";
import { CustomerClient } from "./customerClient";
import { LiveBooking } from "./LiveBooking";

interface PageProps {
  readonly config: ServerConfig;
  readonly session: Session;
}

/** The customer's page: book one thing, then watch it happen. */
export function CustomerApp({ config, session }: PageProps) {
  const state = useSession(session);
  if (state.phase === "restoring") return null;
  if (state.phase === "signed_out") return <SignIn session={session} title="Book with Clenzy" lead={config.region.name} reason={state.reason} />;
  return <SignedIn key={state.person.personId} config={config} session={session} personId={state.person.personId} />;
}

function SignedIn({ config, session, personId }: PageProps & { readonly personId: string }) {
  const [client] = useState(() => new CustomerClient(config, session));
  useEffect(() => {
    client.start();
    return () => client.stop();
  }, [client]);
  return <Home client={client} config={config} session={session} personId={personId} />;
}

interface HomeProps extends PageProps {
  readonly client: CustomerClient;
  readonly personId: string;
}

function Home({ client, config, session, personId }: HomeProps) {
  const { link, bookings, isKnown } = useStore(client.state);
  const [openId, setOpenId] = useState<string | null>(null);
  const [isBooking, setBooking] = useState(false);
  const [isPrivacyOpen, setPrivacyOpen] = useState(false);
  const active = [...bookings.values()].filter((booking) => !ENDED_STATES.has(booking.state)).sort((a, b) => b.created_at.localeCompare(a.created_at));
  const shown = bookings.get(openId ?? "") ?? active[0];
  const { progress, gesture, sound } = useSilentTrigger({
    config,
    session,
    link: client.link,
    personId,
    context: () => ({ ...(shown ? { booking_id: shown.booking_id } : {}), ...lastFix }),
  });
  useRememberPosition();

  return (
    <div className="phone" data-testid="customer-app">
      <header className="phone-head">
        <QuietMark progress={progress} gesture={gesture} />
        <LinkBadge link={link} />
        <button type="button" className="button quiet" onClick={() => void session.signOut()} data-testid="sign-out">
          Sign out
        </button>
      </header>
      <main className="phone-main">
        <CheckInPrompt config={config} session={session} link={client.link} place={() => lastFix.fix} jobKey={active.map(({ booking_id, state }) => `${booking_id} ${state}`).join()} />
        {isPrivacyOpen ? (
          <PrivacyPage config={config} session={session} role="customer" place={() => lastFix.fix} sound={sound} onLeave={() => setPrivacyOpen(false)} />
        ) : isBooking || (isKnown && !shown) ? (
          <BookingForm
            client={client}
            config={config}
            onBooked={(booking) => {
              setOpenId(booking.booking_id);
              setBooking(false);
            }}
            onLeave={shown ? () => setBooking(false) : undefined}
          />
        ) : shown ? (
          <LiveBooking
            key={shown.booking_id}
            booking={shown}
            client={client}
            config={config}
            others={active.filter((booking) => booking.booking_id !== shown.booking_id)}
            onOpen={setOpenId}
            onNew={() => setBooking(true)}
          />
        ) : (
          <div className="card skeleton-card" role="status" aria-label="Loading" />
        )}
      </main>
      {!isPrivacyOpen && <PrivacyLink onOpen={() => setPrivacyOpen(true)} />}
    </div>
  );
}

/** The last position this page happened to learn. A silent trigger sends it along but never asks for it: a prompt would be seen. */
let lastFix: { readonly fix?: LastPlace } = {};

export function rememberFix({ coords, timestamp }: GeolocationPosition): LatLng {
  const place = { lat: coords.latitude, lng: coords.longitude };
  lastFix = { fix: { ...place, ts_ms: Math.round(timestamp), accuracy_m: coords.accuracy } };
  return place;
}

/** Follow the position only where the person has allowed it before. */
function useRememberPosition(): void {
  useEffect(() => {
    let watch: number | null = null;
    let isGone = false;
    if (!("permissions" in navigator)) return;
    void navigator.permissions.query({ name: "geolocation" }).then(({ state }) => {
      if (state !== "granted" || isGone) return;
      watch = navigator.geolocation.watchPosition(rememberFix, () => undefined, { maximumAge: 15_000 });
    });
    return () => {
      isGone = true;
      if (watch !== null) navigator.geolocation.clearWatch(watch);
    };
  }, []);
}
