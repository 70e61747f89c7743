import { useStore } from "zustand";

import { Age } from "../../shared/ui/Age";
import { useDesk } from "../deskContext";
import { zoneWords } from "./zonesStore";

/** Shows or hides the zones, and says what last happened at one. */
export function ZoneBar() {
  const desk = useDesk();
  const { shapes, isShown, latest } = useStore(desk.zones);
  const bySlot = useStore(desk.people, (people) => people.bySlot);
  if (shapes.length === 0 && !latest) return null;
  return (
    <div className="zone-bar" data-testid="zone-bar" data-zones={shapes.length}>
      <button type="button" className="button quiet" aria-pressed={isShown} onClick={() => desk.zones.setState({ isShown: !isShown })} data-testid="zones-toggle">
        Zones {isShown ? "shown" : "hidden"}
      </button>
      {latest && (
        <span data-testid="zone-line">
          {zoneWords(latest, bySlot.get(latest.slot)?.full_name ?? `Worker ${latest.slot}`)} <Age at={Date.parse(latest.at)} />
        </span>
      )}
    </div>
  );
}
