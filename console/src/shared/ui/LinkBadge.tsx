import type { LinkState } from "../protocol/socket";
import { Glyph } from "./Glyph";
import type { Look } from "./states";

const LOOKS: Readonly<Record<LinkState, Look>> = {
  live: { label: "Online", shape: "circle", colour: "--free" },
  connecting: { label: "Connecting", shape: "ring", colour: "--offered" },
  lost: { label: "Offline, trying again", shape: "cross", colour: "--offered" },
};

/** Whether a phone page is connected, in a word and a shape. */
export function LinkBadge({ link }: { readonly link: LinkState }) {
  return (
    <span className="link-badge small" role="status" data-testid="link" data-link={link}>
      <Glyph look={LOOKS[link]} size={10} />
      {LOOKS[link].label}
    </span>
  );
}
