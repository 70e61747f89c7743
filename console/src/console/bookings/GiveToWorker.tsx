import { useEffect, useState } from "react";
import { useStore } from "zustand";

import type { Booking } from "../../shared/protocol/types";
import { ENDED_STATES } from "../../shared/ui/states";
import { useDesk } from "../deskContext";
import { useTask } from "../useTask";

/** What the matcher would have weighed, or passed over, or waits for; any other hard rule is no warning but a refusal. */
const WARNING_WORDS: Readonly<Record<string, string>> = {
  silent: "their phone is silent",
  too_far: "they are far away",
  declined_before: "they said no to this booking, or dropped out of it",
  overtime: "the job ends after their shift",
  level: "they know this less well than the service wants",
  part: "a part is missing",
  language: "no language in common",
  already_asked: "another offer rang on their phone, and was taken back",
  off_duty: "they are off duty, the search waits",
  busy: "they are busy, the search waits",
  shift: "it is not their shift, the search waits",
  working_time: "they have worked enough, the search waits",
};

/** Give a booking to a worker without asking them, or have nobody else asked; what speaks against it stays to be read. */
export function GiveToWorker({ booking }: { readonly booking: Booking }) {
  const desk = useDesk();
  const bySlot = useStore(desk.people, (state) => state.bySlot);
  const { booking_id: bookingId, version } = booking;
  const [pinnedTo, setPinnedTo] = useState<string | null>(null);
  const [told, setTold] = useState("");
  const task = useTask();
  const isOpen = booking.state === "searching" || booking.state === "offered";
  const isOver = ENDED_STATES.has(booking.state) || booking.state === "completed";
  const workers = [...bySlot.values()].sort((a, b) => a.full_name.localeCompare(b.full_name));

  useEffect(() => {
    let isShown = true;
    // What cannot be read is not claimed; the panel itself says that the server is away.
    desk.pinnedTo(bookingId).then((pinned) => isShown && setPinnedTo(pinned), () => undefined);
    return () => {
      isShown = false;
    };
  }, [desk, bookingId, version]);

  const tell = (done: string, warnings: readonly string[]): void => {
    const words = warnings.map((warning) => WARNING_WORDS[warning] ?? warning).join("; ");
    setTold(words ? `${done}, although ${words}.` : "");
  };
  const pin = async (workerId: string): Promise<void> => {
    tell("Pinned", await desk.pinBooking(bookingId, workerId));
    setPinnedTo(workerId);
  };
  const unpin = async (): Promise<void> => {
    await desk.unpinBooking(bookingId);
    setPinnedTo(null);
    setTold("");
  };
  const nameOf = (workerId: string): string => workers.find((worker) => worker.worker_id === workerId)?.full_name ?? "a worker";
  return (
    <>
      {isOpen && (
        <form
          className="actions"
          data-testid="give-to-worker"
          onSubmit={(event) => {
            event.preventDefault();
            const workerId = new FormData(event.currentTarget).get("worker");
            if (typeof workerId !== "string" || !workerId) return;
            const isPin = (event.nativeEvent as SubmitEvent).submitter?.getAttribute("value") === "pin";
            const assign = (): Promise<void> => desk.assignBooking(booking, workerId).then((warnings) => tell("Assigned", warnings));
            task.run(isPin ? pin(workerId) : assign());
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
          <button type="submit" className="button" name="deed" value="pin" disabled={task.isBusy}>
            Ask only them
          </button>
        </form>
      )}
      {!isOver && pinnedTo !== null && (
        <p className="actions" data-testid="pinned" data-worker={pinnedTo}>
          <span>Pinned to {nameOf(pinnedTo)}: nobody else gets it.</span>
          <button type="button" className="button" disabled={task.isBusy} onClick={() => task.run(unpin())}>
            Unpin
          </button>
        </p>
      )}
      {!isOver && !isOpen && pinnedTo === null && booking.worker && (
        <div className="actions">
          <button
            type="button"
            className="button"
            disabled={task.isBusy}
            data-testid="pin-booking"
            onClick={() => booking.worker && task.run(pin(booking.worker.worker_id))}
          >
            Pin to {booking.worker.name}
          </button>
        </div>
      )}
      {task.problem && (
        <p className="form-problem" role="alert">
          {task.problem}
        </p>
      )}
      {told && (
        <p className="form-problem" role="status" data-testid="assign-warnings">
          {told}
        </p>
      )}
    </>
  );
}
