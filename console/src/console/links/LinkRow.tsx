import { useStore } from "zustand";

import { Age } from "../../shared/ui/Age";
import { Glyph } from "../../shared/ui/Glyph";
import type { Look } from "../../shared/ui/states";
import { useDesk } from "../deskContext";
import type { Health } from "./linkHealth";

const HEALTH_LOOKS: Readonly<Record<Health, Look>> = {
  live: { label: "Live", shape: "circle", colour: "--free" },
  connecting: { label: "Connecting", shape: "ring", colour: "--offered" },
  quiet: { label: "Quiet", shape: "triangle", colour: "--offered" },
  lost: { label: "Lost", shape: "cross", colour: "--offered" },
};

/** One connection: its state in a word, and when it was last heard. */
export function LinkRow({ name, kind }: { readonly name: string; readonly kind: "gateway" | "safetap" }) {
  const links = useStore(useDesk().links);
  const health = links[kind];
  const look = HEALTH_LOOKS[health];
  const heardAtMs = kind === "gateway" ? links.gatewayHeardAtMs : links.safetapHeardAtMs;
  return (
    <p className="link-row" data-testid={`link-${kind}`} data-health={health}>
      <Glyph look={look} />
      <span className="grow">
        {name} <span className="quiet">{look.label.toLowerCase()}</span>
      </span>
      <span className="faint small">
        {kind === "safetap" && health === "live" && links.safetapRoundTripMs !== null ? (
          `${Math.max(1, Math.round(links.safetapRoundTripMs))} ms`
        ) : (
          <Age at={heardAtMs} />
        )}
      </span>
    </p>
  );
}
