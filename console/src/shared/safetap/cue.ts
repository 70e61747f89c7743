import type { Cue } from "./setupDraft";

export const CUES: readonly { readonly cue: Cue; readonly words: string }[] = [
  { cue: "dot", words: "The dot behind the name fills" },
  { cue: "buzz", words: "Two short buzzes" },
  { cue: "none", words: "Nothing at all" },
];

/** What the server keeps is remembered here for a phone without a network, under a name that says nothing of it. */
const KEY = "clenzy.mark";
const BUZZ_MS = [40, 80, 40];

export function loadCue(): Cue {
  const kept = localStorage.getItem(KEY);
  return CUES.find(({ cue }) => cue === kept)?.cue ?? "dot";
}

export function keepCue(cue: Cue): void {
  localStorage.setItem(KEY, cue);
}

/** Where the phone can. */
export function buzz(): void {
  if ("vibrate" in navigator) navigator.vibrate(BUZZ_MS);
}
