import { useEffect, useState } from "react";

import { sentenceOf } from "../shared/protocol/problem";
import type { Offer } from "../shared/protocol/types";
import { durationWords, money } from "../shared/ui/time";
import type { WorkerClient } from "./workerClient";

const TICK_MS = 250;

/** One offer, its countdown, and two answers within a thumb's reach. */
export function OfferCard({ offer, client, skewMs }: { readonly offer: Offer; readonly client: WorkerClient; readonly skewMs: number }) {
  const [problem, setProblem] = useState<string | null>(null);
  const [isBusy, setBusy] = useState(false);
  const leftMs = useCountdown(Date.parse(offer.expires_at) - skewMs);
  const totalMs = Math.max(1, Date.parse(offer.expires_at) - Date.parse(offer.sent_at));
  const answer = async (word: "accept" | "decline"): Promise<void> => {
    setBusy(true);
    try {
      await client.answerOffer(offer, word);
    } catch (error) {
      setProblem(sentenceOf(error));
      setBusy(false);
    }
  };
  return (
    <section className="card offer" data-testid="offer" data-id={offer.offer_id} aria-label="Offer">
      <div className="countdown" role="timer" aria-label={`${Math.ceil(leftMs / 1000)} seconds to answer`}>
        <i style={{ width: `${Math.min(100, (100 * leftMs) / totalMs)}%` }} />
      </div>
      <p className="eyebrow">New job · answer within {Math.ceil(leftMs / 1000)} s</p>
      <h2>{offer.service_name}</h2>
      <p className="address">{offer.address_line}</p>
      <dl className="tiles">
        <div>
          <dt>Pays</dt>
          <dd>{money(offer.price_minor, offer.currency)}</dd>
        </div>
        <div>
          <dt>Drive</dt>
          <dd>{offer.eta_s === null ? "–" : durationWords(offer.eta_s * 1000)}</dd>
        </div>
        <div>
          <dt>Takes</dt>
          <dd>{durationWords(offer.duration_min * 60_000)}</dd>
        </div>
      </dl>
      <p className="form-problem" role="alert">
        {problem}
      </p>
      <div className="thumb-row">
        <button type="button" className="button thumb" disabled={isBusy} onClick={() => void answer("decline")} data-testid="decline">
          Decline
        </button>
        <button type="button" className="button thumb primary" disabled={isBusy || leftMs <= 0} onClick={() => void answer("accept")} data-testid="accept">
          Accept
        </button>
      </div>
    </section>
  );
}

/** Milliseconds until `untilMs` of the phone's clock. */
function useCountdown(untilMs: number): number {
  const [now, setNow] = useState(() => Date.now());
  useEffect(() => {
    const timer = setInterval(() => setNow(Date.now()), TICK_MS);
    return () => clearInterval(timer);
  }, []);
  return Math.max(0, untilMs - now);
}
