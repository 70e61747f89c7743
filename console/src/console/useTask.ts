import { useState } from "react";

import { sentenceOf } from "../shared/protocol/problem";

export interface Task {
  readonly isBusy: boolean;
  /** Why the last one failed, in a sentence. */
  readonly problem: string | null;
  readonly run: (act: Promise<unknown>) => void;
}

/** One deed at a time, with what went wrong. */
export function useTask(): Task {
  const [isBusy, setBusy] = useState(false);
  const [problem, setProblem] = useState<string | null>(null);
  const run = (act: Promise<unknown>): void => {
    setBusy(true);
    setProblem(null);
    act.catch((error: unknown) => setProblem(sentenceOf(error))).finally(() => setBusy(false));
  };
  return { isBusy, problem, run };
}
