import { useStore } from "zustand";

import { Age } from "../../shared/ui/Age";
import { Glyph } from "../../shared/ui/Glyph";
import { useDesk } from "../deskContext";
import type { MissingPart } from "../incidents/safetapLive";

/** What a desk has to know of a part that is missing: what does not happen by itself meanwhile. */
const CONSEQUENCES: Readonly<Record<MissingPart["part"], string>> = {
  door: "A door for alarms has fallen silent: phones find another one, or try again until it is back.",
  escalator: "What climbs the ladders has fallen silent: steps may come late. Do not wait for them.",
  sender: "What sends messages, calls and pushes has fallen silent: responders may not have been told. Ring them yourself.",
};

/** Parts of SafeTap itself that nothing is heard of: said above the map, whatever panel is open. */
export function WatchNotice() {
  const missing = useStore(useDesk().peers, (state) => state.missing);
  return (
    <div role="status" data-testid="watch-notice" data-missing={missing.map(({ part }) => part).join(" ")}>
      {missing.map(({ part, since }) => (
        <p key={`${part} ${since}`} className="notice">
          <Glyph look={{ label: "Missing", shape: "triangle", colour: "--offered" }} size={14} />
          <span>
            <strong>{CONSEQUENCES[part]}</strong> Last heard <Age at={since} />.
          </span>
        </p>
      ))}
    </div>
  );
}
