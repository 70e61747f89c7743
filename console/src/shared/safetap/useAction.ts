import { useState } from "react";

import { sentenceOf } from "../protocol/problem";

export interface Action {
  readonly isBusy: boolean;
  /** Why the last one failed, in a sentence. */
  readonly problem: string | null;
  /** What the last one achieved, in a sentence. */
  readonly done: string | null;
  readonly run: (act: () => Promise<string | undefined>) => void;
  readonly fail: (problem: string) => void;
}

/** One thing at a time, and what became of it in words. */
export function useAction(): Action {
  const [state, setState] = useState<Omit<Action, "run" | "fail">>({ isBusy: false, problem: null, done: null });
  const end = (problem: string | null, done: string | null): void => setState({ isBusy: false, problem, done });
  return {
    ...state,
    fail: (problem) => end(problem, null),
    run: (act) => {
      setState({ isBusy: true, problem: null, done: null });
      act().then(
        (done) => end(null, done ?? null),
        (error: unknown) => end(sentenceOf(error), null),
      );
    },
  };
}
