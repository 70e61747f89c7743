import { useEffect, useMemo, useState } from "react";
import { useStore } from "zustand";

import { FollowMap } from "../shared/map/FollowMap";
import type { BookingState, ServerConfig } from "../shared/protocol/types";
import { Age } from "../shared/ui/Age";
import { StateTag } from "../shared/ui/Glyph";
import "../shared/ui/phone.css";
import { BOOKING_LOOKS } from "../shared/ui/states";
import { clockTime, etaWords } from "../shared/ui/time";
import { tokenOf, TripFollower, type SharedPosition, type SharedTrip } from "./sharedTrip";

const SENTENCES: Partial<Record<BookingState, string>> = {
  assigned: "has the job and has not set off yet.",
  en_route: "is on the way.",
  arrived: "is there.",
  in_progress: "is at work.",
};

/** Somebody else's trip, for whoever has the link: where the worker is, on a map, and no door. */
export function TripApp({ config }: { readonly config: ServerConfig }) {
  const [follower] = useState(() => new TripFollower(tokenOf(location.hash)));
  useEffect(() => {
    follower.start();
    return () => follower.stop();
  }, [follower]);
  const { phase, trip, problem } = useStore(follower.state);
  return (
    <div className="phone" data-testid="trip-app" data-phase={phase}>
      <main className="phone-main">
        {phase === "loading" && !problem && <div className="card skeleton-card" role="status" aria-label="Loading" />}
        {phase === "over" && (
          <section className="stage">
            <h1 className="stage-title">This trip is over</h1>
            <p className="quiet">Or the link was ended by who had made it.</p>
          </section>
        )}
        {trip && <Shown trip={trip} config={config} />}
        <p className="form-problem" role="status">
          {problem}
        </p>
      </main>
    </div>
  );
}

function Shown({ trip, config }: { readonly trip: SharedTrip; readonly config: ServerConfig }) {
  const { position, state } = trip;
  return (
    <section className="stage" data-testid="shared-trip" data-state={state}>
      <div aria-live="polite">
        <p className="eyebrow">
          <StateTag look={BOOKING_LOOKS[state]} /> · {trip.service_name}
        </p>
        <h1 className="stage-title">
          {trip.worker_name} {SENTENCES[state]}
        </h1>
      </div>
      {position && (
        <div>
          {state === "en_route" && <p className="eta">{etaWords(position.eta_low_s, position.eta_high_s)}</p>}
          <p className="faint small">
            position <Age at={position.ts_ms} />
          </p>
        </div>
      )}
      {position && <TripMap position={position} state={state} config={config} />}
      <p className="quiet small">The link ends with the trip, at the latest at {clockTime(trip.expires_at, trip.tz)}.</p>
    </section>
  );
}

function TripMap({ position, state, config }: { readonly position: SharedPosition; readonly state: BookingState; readonly config: ServerConfig }) {
  // It opens where the worker is first seen; from then on the map is the looker's.
  const [center] = useState(position);
  const start = useMemo(() => ({ center, zoom: 15, styleUrl: config.map_style_url }), [center, config]);
  return <FollowMap start={start} label="Map: where the worker is" worker={{ place: position, look: BOOKING_LOOKS[state] }} />;
}
