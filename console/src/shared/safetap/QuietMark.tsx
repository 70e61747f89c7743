import { Mark } from "../ui/Wordmark";
import type { TriggerProgress } from "./triggerSender";
import type { GestureHandlers } from "./useSilentTrigger";
import "./quiet-mark.css";

/**
 * The page's mark, and the silent alarm behind it. The cue for who knows it, and for nobody else: the dot after the
 * name is hollow at rest, half while a trigger is on its way, filled once it is committed, hollow again after 20 s.
 */
export function QuietMark({ progress, gesture }: { readonly progress: TriggerProgress; readonly gesture: GestureHandlers }) {
  return (
    <h1 className="wordmark quiet-mark" data-testid="brand" data-progress={progress} {...gesture}>
      <Mark />
      <span>Clenzy</span>
      <i className="cue" aria-hidden="true" />
    </h1>
  );
}
