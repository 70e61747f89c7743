import { useEffect, useRef, useState, type ReactNode } from "react";

import { sentenceOf } from "../../shared/protocol/problem";
import type { Colleague } from "../../shared/protocol/types";
import { useDesk } from "../deskContext";

interface HandOverProps {
  readonly title: string;
  readonly action: string;
  /** Name of who has it already. */
  readonly notTo?: string | null;
  readonly handOver: (to: string, note: string) => Promise<unknown>;
  readonly close: () => void;
  readonly children?: ReactNode;
}

/** To whom, and what they must know: a recorded act. Those at an armed desk stand first. */
export function HandOverDialog({ title, action, notTo, handOver, close, children }: HandOverProps) {
  const { work } = useDesk();
  const dialog = useRef<HTMLDialogElement>(null);
  const [colleagues, setColleagues] = useState<readonly Colleague[] | null>(null);
  const [problem, setProblem] = useState<string | null>(null);
  useEffect(() => {
    const element = dialog.current;
    // Focus goes back to where it came from when a modal dialog closes.
    element?.showModal();
    return () => element?.close();
  }, []);
  useEffect(() => {
    let isWanted = true;
    work.colleagues().then(
      (found) => isWanted && setColleagues(found),
      (error: unknown) => isWanted && setProblem(sentenceOf(error)),
    );
    return () => {
      isWanted = false;
    };
  }, [work]);
  const others = colleagues?.filter((one) => one.name !== notTo) ?? [];
  return (
    <dialog ref={dialog} className="palette hand-over" aria-label={title} onClose={close} data-testid="hand-over-dialog">
      <form
        className="actions column"
        onSubmit={(event) => {
          event.preventDefault();
          const form = new FormData(event.currentTarget);
          const [to, note] = [form.get("to"), form.get("note")];
          if (typeof to !== "string") return;
          handOver(to, typeof note === "string" ? note : "").then(close, (error: unknown) => setProblem(sentenceOf(error)));
        }}
      >
        <h2>{title}</h2>
        {children}
        <fieldset className="choices">
          <legend>To whom</legend>
          {others.map((one) => (
            <label key={one.person_id} className="check">
              <input type="radio" name="to" value={one.person_id} required data-testid="hand-over-to" />
              <span>
                {one.name} <span className="faint">{one.role}{one.is_armed ? ", at an armed desk" : ", no armed desk"}</span>
              </span>
            </label>
          ))}
          {colleagues !== null && others.length === 0 && <p className="quiet">Nobody else works at this desk.</p>}
        </fieldset>
        <label>
          What they must know
          <textarea name="note" rows={3} maxLength={4000} data-testid="hand-over-note" />
        </label>
        <p className="form-problem" role="alert">
          {problem}
        </p>
        <div className="actions">
          <button type="submit" className="button primary" disabled={others.length === 0} data-testid="hand-over-confirm">
            {action}
          </button>
          <button type="button" className="button quiet" onClick={close}>
            Not now
          </button>
        </div>
      </form>
    </dialog>
  );
}
