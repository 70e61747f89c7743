import { useEffect, useRef, useState, type ReactNode } from "react";

import type { LatLng } from "../protocol/types";
import { openMap, type MapPort, type MapStart, type MapView } from "./mapPort";
import { scaleBar, type Point } from "./mercator";
import "./map.css";

export interface Marker {
  readonly key: string;
  readonly place: LatLng;
  readonly content: ReactNode;
}

interface MapSurfaceProps {
  readonly start: MapStart;
  readonly label: string;
  readonly markers?: readonly Marker[];
  /** The port once the map is drawn, null when it goes away. */
  readonly onPort?: (port: MapPort | null) => void;
  readonly onView?: (view: MapView, isByHand: boolean) => void;
  readonly onPick?: (port: MapPort, pixel: Point) => void;
  readonly children?: ReactNode;
  readonly data?: Readonly<Record<`data-${string}`, string | number>>;
}

/** A map in a page: opens it lazily, keeps HTML markers on their places, shows a scale and zoom buttons. */
export function MapSurface({ start, label, markers = [], onPort, onView, onPick, children, data }: MapSurfaceProps) {
  const element = useRef<HTMLDivElement>(null);
  const [port, setPort] = useState<MapPort | null>(null);
  const [, repaint] = useState(0);
  const handlers = useRef({ onPort, onView, onPick });
  const startRef = useRef(start);

  useEffect(() => {
    handlers.current = { onPort, onView, onPick };
  });

  useEffect(() => {
    const parent = element.current;
    if (!parent) return;
    // Each opening gets its own element, so that a map still loading never shares one with its successor.
    const container = document.createElement("div");
    container.className = "map-canvas";
    parent.prepend(container);
    let isGone = false;
    let opened: MapPort | null = null;
    const settle = (isByHand: boolean): void => {
      if (opened) handlers.current.onView?.(opened.view(), isByHand);
    };
    void openMap(container, startRef.current, {
      onMove: () => repaint((count) => count + 1),
      onSettle: settle,
      onPick: (pixel) => {
        if (opened) handlers.current.onPick?.(opened, pixel);
      },
    }).then((map) => {
      if (isGone) { map.destroy(); return; }
      opened = map;
      setPort(map);
      handlers.current.onPort?.(map);
      settle(false);
    });
    const recolour = (): void => opened?.repaintColours();
    addEventListener("clenzy:theme", recolour);
    return () => {
      isGone = true;
      removeEventListener("clenzy:theme", recolour);
      handlers.current.onPort?.(null);
      opened?.destroy();
      container.remove();
      setPort(null);
    };
  }, []);

  const view = port?.view();
  const scale = view ? scaleBar(view.center.lat, view.zoom, 120) : null;
  return (
    <div ref={element} className="map-surface" role="region" aria-label={label} data-map={port?.kind ?? "loading"} {...data}>
      {port && (
        <div className="map-markers">
          {markers.map((marker) => {
            const { x, y } = port.project(marker.place);
            return (
              <div key={marker.key} className="map-marker" style={{ transform: `translate(${x}px, ${y}px)` }}>
                {marker.content}
              </div>
            );
          })}
        </div>
      )}
      {children}
      {port && scale && (
        <div className="map-tools">
          <span className="map-scale" style={{ width: scale.px }}>
            {scale.label}
          </span>
          <span className="map-zoom">
            <button type="button" aria-label="Zoom out" onClick={() => port.zoomBy(-1)}>
              −
            </button>
            <button type="button" aria-label="Zoom in" onClick={() => port.zoomBy(1)}>
              +
            </button>
          </span>
        </div>
      )}
    </div>
  );
}
