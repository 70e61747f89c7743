import { useStore } from "zustand";

import { Age } from "../../shared/ui/Age";
import { Glyph } from "../../shared/ui/Glyph";
import { useDesk } from "../deskContext";

/** Says plainly that what is on the screen is old, and how old. */
export function LinkNotice() {
  const { gateway, safetap, gatewayHeardAtMs, safetapHeardAtMs } = useStore(useDesk().links);
  const isGatewayLost = gateway === "lost" || gateway === "quiet";
  const isSafetapLost = safetap === "lost" || safetap === "quiet";
  if (!isGatewayLost && !isSafetapLost) return null;
  const heardAtMs = isGatewayLost ? gatewayHeardAtMs : safetapHeardAtMs;
  return (
    <div className="notice" role="status" data-testid="link-notice">
      <Glyph look={{ label: "Lost", shape: "triangle", colour: "--offered" }} size={14} />
      <span>
        <strong>{isGatewayLost ? "Connection to the gateway lost" : "Connection to SafeTap lost"}</strong>
        {isGatewayLost ? ": map and board are from " : ": alarms still come through the gateway; last heard "}
        <Age at={heardAtMs} />. Reconnecting…
        {isGatewayLost && !isSafetapLost && " SafeTap is connected: alarms still arrive."}
      </span>
    </div>
  );
}
