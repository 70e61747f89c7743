/** How this device shows, to its owner alone, that something arrived. Kept under a name that says nothing of it. */
export type Cue = "dot" | "buzz" | "both" | "none";

export const CUES: readonly { readonly cue: Cue; readonly words: string }[] = [
  { cue: "dot", words: "The dot behind the name fills" },
  { cue: "buzz", words: "One short buzz" },
  { cue: "both", words: "The dot and a buzz" },
  { cue: "none", words: "Nothing at all" },
];

const KEY = "clenzy.mark";
const BUZZ_MS = 40;

export function loadCue(): Cue {
  const kept = localStorage.getItem(KEY);
  return CUES.find(({ cue }) => cue === kept)?.cue ?? "dot";
}

export function keepCue(cue: Cue): void {
  localStorage.setItem(KEY, cue);
}

export const showsDot = (cue: Cue): boolean => cue === "dot" || cue === "both";

/** Where the phone can. */
export function buzz(cue: Cue): void {
  if ((cue === "buzz" || cue === "both") && "vibrate" in navigator) navigator.vibrate(BUZZ_MS);
}
