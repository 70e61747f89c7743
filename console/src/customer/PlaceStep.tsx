import { useMemo, useState } from "react";

import type { MapPort } from "../shared/map/mapPort";
import { MapSurface } from "../shared/map/MapSurface";
import type { LatLng, ServerConfig } from "../shared/protocol/types";
import { StepButtons, type StepProps } from "./BookingForm";
import { Pin } from "./Pin";
import { rememberFix } from "./CustomerApp";

const START_ZOOM = 15;

/** The pin: under the crosshair of a map, from the phone's position, or typed. */
export function PlaceStep({ config, draft, change, back, next }: StepProps & { readonly config: ServerConfig }) {
  const [port, setPort] = useState<MapPort | null>(null);
  const [words, setWords] = useState<string | null>(null);
  const place = draft.pin ?? config.region.center;
  const [start] = useState(() => ({ center: place, zoom: START_ZOOM, styleUrl: config.map_style_url }));
  const take = (pin: LatLng): void => {
    change({ pin });
    port?.flyTo(pin);
  };
  const locate = (): void => {
    setWords("Asking the phone…");
    navigator.geolocation.getCurrentPosition(
      (position) => {
        take(rememberFix(position));
        setWords(`Within about ${Math.round(position.coords.accuracy)} m.`);
      },
      () => setWords("The phone did not tell. Move the map or type the coordinates."),
      { enableHighAccuracy: true, timeout: 10_000 },
    );
  };
  const fields = useMemo(() => [["lat", "Latitude", 90], ["lng", "Longitude", 180]] as const, []);
  return (
    <>
      <h2 className="stage-title">Where?</h2>
      <div className="phone-map">
        <MapSurface
          start={start}
          label="Map: move it until the pin is on the place"
          onPort={(map) => {
            setPort(map);
            // The place may have been chosen while the map was still loading.
            if (place !== start.center) map?.flyTo(place);
          }}
          onView={({ center }, isByHand) => {
            // A map also settles when it opens, flies or is resized: only a person's move is a choice.
            if (isByHand) change({ pin: { lat: center.lat, lng: center.lng } });
          }}
        >
          <span className="crosshair">
            <Pin />
          </span>
        </MapSurface>
      </div>
      <div className="field-row">
        {fields.map(([axis, label, limit]) => (
          <label key={axis}>
            {label}
            <CoordinateInput
              value={place[axis]}
              limit={limit}
              testId={axis}
              onChange={(value) => take({ ...place, [axis]: value })}
            />
          </label>
        ))}
      </div>
      <p className="small faint" role="status">
        {words ?? "Move the map under the pin, or type."}
      </p>
      <button type="button" className="button" onClick={locate} data-testid="use-position">
        Use my position
      </button>
      <StepButtons
        back={back}
        next={() => {
          if (!draft.pin) change({ pin: place });
          next();
        }}
        label="This is the place"
        isReady
      />
    </>
  );
}

interface CoordinateInputProps {
  readonly value: number;
  readonly limit: number;
  readonly testId: string;
  readonly onChange: (value: number) => void;
}

/** Typing is free; a value is taken when it is a coordinate. */
function CoordinateInput({ value, limit, testId, onChange }: CoordinateInputProps) {
  const [typed, setTyped] = useState<string | null>(null);
  const commit = (): void => {
    const parsed = Number(typed?.replace(",", "."));
    if (typed !== null && typed.trim() !== "" && Math.abs(parsed) <= limit) onChange(parsed);
    setTyped(null);
  };
  return (
    <input
      inputMode="decimal"
      value={typed ?? value.toFixed(5)}
      onChange={(event) => setTyped(event.target.value)}
      onBlur={commit}
      onKeyDown={(event) => event.key === "Enter" && commit()}
      data-testid={testId}
    />
  );
}
