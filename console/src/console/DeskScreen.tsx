import { useCallback, useEffect, useState } from "react";
import { useStore } from "zustand";

import type { Session } from "../shared/session/session";
import { BookingPanel } from "./bookings/BookingPanel";
import { BookingsBoard } from "./bookings/BookingsBoard";
import "./desk.css";
import { useDesk } from "./deskContext";
import { AlarmBanner } from "./incidents/AlarmBanner";
import { IncidentPanel } from "./incidents/IncidentPanel";
import { IncidentQueue } from "./incidents/IncidentQueue";
import { pageTitle } from "./incidents/incidentsStore";
import { useDeskKeys } from "./keys";
import { LinkNotice } from "./links/LinkNotice";
import { WatchNotice } from "./links/WatchNotice";
import { DeskMap } from "./map/DeskMap";
import { CommandPalette } from "./palette/CommandPalette";
import { Rail } from "./rail/Rail";
import { usePanel, type Panel } from "./route";
import { SafetyPanel } from "./safety/SafetyPanel";
import { SilencePanel } from "./silence/SilencePanel";
import { WorkerPanel } from "./workers/WorkerPanel";
import { WorkersTable } from "./workers/WorkersTable";

/** The desk: a rail on the left, the map as the room, at most one panel on the right, alarms above all. */
export function DeskScreen({ session }: { readonly session: Session }) {
  const panel = usePanel();
  const desk = useDesk();
  const gateway = useStore(desk.links, (links) => links.gateway);
  const [isPaletteOpen, setPaletteOpen] = useState(false);
  const isWide = useStore(desk.layout, (layout) => layout.isWide);
  const openPalette = useCallback(() => setPaletteOpen(true), []);
  const title = useStore(desk.work.store, (state) => pageTitle(state.byId, "Clenzy desk"));
  useEffect(() => {
    document.title = title;
  }, [title]);
  useEffect(() => {
    // A click on a notification leads here.
    const onMessage = ({ data }: MessageEvent<unknown>): void => {
      if (typeof data === "object" && data !== null && "hash" in data && typeof data.hash === "string") location.hash = data.hash;
    };
    const worker = "serviceWorker" in navigator ? navigator.serviceWorker : undefined;
    worker?.addEventListener("message", onMessage);
    return () => worker?.removeEventListener("message", onMessage);
  }, []);
  useDeskKeys({ openPalette, isPaletteOpen });

  return (
    <div className="desk" data-panel={panel.name} data-wide={isWide && panel.name !== "map"} data-gateway={gateway}>
      <Rail session={session} openPalette={openPalette} />
      <main className="room">
        <AlarmBanner />
        <LinkNotice />
        <WatchNotice />
        <DeskMap />
      </main>
      {panel.name !== "map" && (
        <aside className="panel" aria-label={panel.name} data-testid="panel">
          <PanelContent panel={panel} />
        </aside>
      )}
      {isPaletteOpen && <CommandPalette session={session} close={() => setPaletteOpen(false)} />}
    </div>
  );
}

function PanelContent({ panel }: { readonly panel: Panel }) {
  switch (panel.name) {
    case "map":
      return null;
    case "bookings":
      return <BookingsBoard />;
    case "booking":
      return <BookingPanel key={panel.id} bookingId={panel.id} />;
    case "incidents":
      return <IncidentQueue />;
    case "incident":
      return <IncidentPanel key={panel.id} incidentId={panel.id} />;
    case "silence":
      return <SilencePanel />;
    case "safety":
      return <SafetyPanel />;
    case "workers":
      return <WorkersTable />;
    case "worker":
      return <WorkerPanel key={panel.slot} slot={panel.slot} />;
  }
}
