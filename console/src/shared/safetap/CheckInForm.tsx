import { useCallback, useEffect, useState } from "react";

import { clockTime } from "../ui/time";
import { Outcome } from "./Outcome";
import type { LastPlace, PrivacyClient, WatchedJob } from "./privacyClient";
import { PinField } from "./PinSection";
import { useAction } from "./useAction";

interface CheckInFormProps {
  readonly client: PrivacyClient;
  readonly place: () => LastPlace | undefined;
  readonly onAnswered?: (jobs: readonly WatchedJob[]) => void;
}

/** Say that all is well before somebody has to ask; nobody learns here which PIN it was. */
export function CheckInForm({ client, place, onAnswered }: CheckInFormProps) {
  const action = useAction();
  const [jobs, setJobs] = useState<readonly WatchedJob[] | null>(null);
  const [pin, setPin] = useState("");
  const refresh = useCallback(() => client.watchedJobs().then(setJobs, () => undefined), [client]);
  useEffect(() => void refresh(), [refresh]);
  if (jobs === null) return <p role="status">Loading…</p>;
  const needsPin = jobs.some(({ needs_pin }) => needs_pin);
  return (
    <form
      className="quiet-form"
      onSubmit={(event) => {
        event.preventDefault();
        action.run(async () => {
          const left = await client.tellAllIsWell(pin, place());
          setJobs(left);
          setPin("");
          onAnswered?.(left);
          return "Thank you. All is in order.";
        });
      }}
    >
      {jobs.length === 0 && <p className="small quiet">No job is under way that is watched over.</p>}
      <ul className="quiet-list">
        {jobs.map((job) => (
          <li key={job.booking_id}>
            <span className="grow">{job.service_name}</span>
            <span className="small" data-due={job.is_due}>
              {dueWords(job)}
            </span>
          </li>
        ))}
      </ul>
      {needsPin && <PinField label="PIN" value={pin} onChange={setPin} testId="check-in-pin" />}
      <button type="submit" className="button" disabled={action.isBusy || (needsPin && pin.length < 4)} data-testid="check-in">
        All is well
      </button>
      <Outcome action={action} />
    </form>
  );
}

function dueWords(job: WatchedJob): string {
  if (job.is_due) return job.answer_by ? `please answer by ${clockTime(job.answer_by)}` : "please answer";
  return job.next_check_in_at ? `next at ${clockTime(job.next_check_in_at)}` : "";
}
