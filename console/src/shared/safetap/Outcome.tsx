import type { Action } from "./useAction";

/** What became of an action: read out, and kept in its place so that nothing jumps. */
export function Outcome({ action }: { readonly action: Action }) {
  return (
    <>
      <p className="form-problem" role="alert">
        {action.problem}
      </p>
      <p className="small" role="status" data-testid="outcome">
        {action.done}
      </p>
    </>
  );
}
