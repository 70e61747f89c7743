import type { LatLng } from "../protocol/types";
import { Glyph } from "../ui/Glyph";
import type { Look } from "../ui/states";
import type { MapPort, MapStart } from "./mapPort";
import { MapSurface, type Marker } from "./MapSurface";

interface FollowMapProps {
  readonly start: MapStart;
  readonly label: string;
  readonly worker: { readonly place: LatLng; readonly look: Look } | null;
  readonly others?: readonly Marker[];
  readonly onPort?: (port: MapPort | null) => void;
}

/** A map on a phone on which one worker moves. */
export function FollowMap({ start, label, worker, others = [], onPort }: FollowMapProps) {
  const markers: Marker[] = [...others];
  if (worker) {
    const { place, look } = worker;
    markers.push({
      key: "worker",
      place,
      content: (
        <span className="worker-mark" data-testid="worker-mark" data-lat={place.lat} data-lng={place.lng}>
          <Glyph look={look} size={14} />
        </span>
      ),
    });
  }
  return (
    <div className="phone-map">
      <MapSurface start={start} label={label} markers={markers} {...(onPort ? { onPort } : {})} />
    </div>
  );
}
