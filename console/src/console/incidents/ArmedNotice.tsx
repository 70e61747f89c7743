import { useStore } from "zustand";

import { Glyph } from "../../shared/ui/Glyph";
import { useNow } from "../../shared/ui/now";
import { useDesk } from "../deskContext";
import { armedWords } from "./armed";

/** Whether anybody here would hear an alarm, said plainly where alarms are worked. */
export function ArmedNotice() {
  const { watch, sound, links, presence } = useDesk();
  useNow();
  const armed = useStore(watch);
  const { isAllowed, isMuted } = useStore(sound.state);
  const safetap = useStore(links, (state) => state.safetap);
  const words = armedWords({ ...armed, isAllowed, isMuted, safetap, activeMsAgo: presence.activeMsAgo });
  return (
    <p className="armed-notice small" role="status" data-testid="armed-state" data-armed={armed.isArmed}>
      <Glyph look={armed.isArmed ? { label: "", shape: "check", colour: "--free" } : { label: "", shape: "triangle", colour: "--offered" }} />
      <span>{words}</span>
    </p>
  );
}
