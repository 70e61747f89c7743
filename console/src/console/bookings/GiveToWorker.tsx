import { useState } from "react";
import { useStore } from "zustand";

import type { Booking } from "../../shared/protocol/types";
import { useDesk } from "../deskContext";
import { useTask } from "../useTask";

/** What the matcher would have weighed, or passed over; a hard rule is no warning but a refusal. */
const WARNING_WORDS: Readonly<Record<string, string>> = {
  silent: "their phone is silent",
  too_far: "they are far away",
  declined_before: "they said no to this booking, or dropped out of it",
  overtime: "the job ends after their shift",
  level: "they know this less well than the service wants",
  part: "a part is missing",
  language: "no language in common",
  already_asked: "another offer rang on their phone, and was taken back",
};

/** Give a booking to a worker without asking them; what speaks against it stays on the panel. */
export function GiveToWorker({ booking }: { readonly booking: Booking }) {
  const desk = useDesk();
  const bySlot = useStore(desk.people, (state) => state.bySlot);
  const [warnings, setWarnings] = useState<readonly string[]>([]);
  const task = useTask();
  const isOpen = booking.state === "searching" || booking.state === "offered";
  const workers = [...bySlot.values()].sort((a, b) => a.full_name.localeCompare(b.full_name));
  return (
    <>
      {isOpen && (
        <form
          className="actions"
          data-testid="give-to-worker"
          onSubmit={(event) => {
            event.preventDefault();
            const workerId = new FormData(event.currentTarget).get("worker");
            if (typeof workerId === "string" && workerId) task.run(desk.assignBooking(booking, workerId).then(setWarnings));
          }}
        >
          <label>
            Give to
            <select name="worker" required defaultValue="">
              <option value="" disabled>
                a worker
              </option>
              {workers.map((worker) => (
                <option key={worker.worker_id} value={worker.worker_id}>
                  {worker.full_name}
                </option>
              ))}
            </select>
          </label>
          <button type="submit" className="button" disabled={task.isBusy}>
            Assign
          </button>
        </form>
      )}
      {task.problem && (
        <p className="form-problem" role="alert">
          {task.problem}
        </p>
      )}
      {warnings.length > 0 && (
        <p className="form-problem" role="status" data-testid="assign-warnings">
          Assigned, although {warnings.map((warning) => WARNING_WORDS[warning] ?? warning).join("; ")}.
        </p>
      )}
    </>
  );
}
