import { useState } from "react";

import { sentenceOf } from "../protocol/problem";
import type { TripLink, TripLinkVerbs } from "../protocol/tripLinks";
import { CopyField } from "../safetap/CopyField";
import { clockTime } from "./time";

/** Let somebody without an account follow this trip, and end that again. A link is shown once: the server keeps its hash. */
export function TripLinks({ bookingId, links }: { readonly bookingId: string; readonly links: TripLinkVerbs }) {
  const [made, setMade] = useState<TripLink | null>(null);
  const [said, setSaid] = useState("");
  const [problem, setProblem] = useState<string | null>(null);
  const [isBusy, setBusy] = useState(false);
  const run = (act: Promise<void>): void => {
    setBusy(true);
    setProblem(null);
    act.catch((error: unknown) => setProblem(sentenceOf(error))).finally(() => setBusy(false));
  };
  const make = async (): Promise<void> => {
    setMade(await links.make(bookingId));
    setSaid("");
  };
  const end = async (): Promise<void> => {
    await links.end(bookingId);
    setMade(null);
    setSaid("Your links to this trip are ended.");
  };
  return (
    <details className="card" data-testid="trip-links">
      <summary>Let somebody follow this trip</summary>
      <p className="quiet small">Whoever has the link sees the worker on the way and there, not your address. It ends with the trip.</p>
      {made && <CopyField label="Link" value={made.url} testId="trip-link" />}
      {made && <p className="faint small">Until {clockTime(made.expires_at)} at the latest. It is shown this once.</p>}
      <div className="thumb-row">
        <button type="button" className="button" disabled={isBusy} onClick={() => run(make())} data-testid="make-trip-link">
          Make a link
        </button>
        <button type="button" className="button" disabled={isBusy} onClick={() => run(end())} data-testid="end-trip-links">
          End my links
        </button>
      </div>
      <p className="quiet small" role="status" data-testid="trip-links-said">
        {said}
      </p>
      <p className="form-problem" role="alert">
        {problem}
      </p>
    </details>
  );
}
