import type { Health } from "../links/linkHealth";

export interface ArmedFacts {
  readonly isArmed: boolean;
  readonly desksArmed: number | null;
  readonly isAllowed: boolean;
  readonly isMuted: boolean;
  readonly safetap: Health;
  readonly activeMsAgo: number;
}

/** SafeTap counts on nobody who has not touched the desk for so long. */
const ACTIVE_MS_MAX = 600_000;

export const WITHOUT_A_DESK = "With no armed desk the ladder starts at the on-call phone.";

/** Whether somebody here would hear an alarm, in a sentence; why not, and what follows from it. Pure. */
export function armedWords(facts: ArmedFacts): string {
  if (facts.isArmed) return `This desk is armed${othersWords(facts.desksArmed)}.`;
  const others = facts.desksArmed ?? 0;
  const follows = others > 0 ? `${others} other ${others === 1 ? "desk is" : "desks are"} armed.` : WITHOUT_A_DESK;
  return `This desk is NOT armed because ${reason(facts)}. ${follows}`;
}

function othersWords(desksArmed: number | null): string {
  if (desksArmed === null || desksArmed <= 1) return "";
  return `, and ${desksArmed - 1} other${desksArmed > 2 ? "s are" : " is"} too`;
}

function reason({ isAllowed, isMuted, safetap, activeMsAgo }: ArmedFacts): string {
  if (safetap === "lost" || safetap === "quiet") return "its connection to SafeTap is lost";
  if (isMuted) return "its sound is muted";
  if (!isAllowed) return "its sound waits for a first click or key";
  if (activeMsAgo > ACTIVE_MS_MAX) return "nobody has touched it for 10 min";
  if (safetap === "connecting") return "it is still connecting to SafeTap";
  return "SafeTap has not confirmed it yet";
}
