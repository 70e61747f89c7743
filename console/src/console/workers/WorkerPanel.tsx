import { useEffect } from "react";
import { useStore } from "zustand";

import { latLngWords } from "../../shared/map/mercator";
import { fixNowMs } from "../../shared/protocol/fixClock";
import { StateTag } from "../../shared/ui/Glyph";
import { useNow } from "../../shared/ui/now";
import { BOOKING_LOOKS, ENDED_STATES, WORKER_LOOKS } from "../../shared/ui/states";
import { durationWords } from "../../shared/ui/time";
import { useDesk } from "../deskContext";
import { PanelHead } from "../PanelHead";
import { hashOf } from "../route";

/** One worker: state, where, when last heard of, and the job. */
export function WorkerPanel({ slot }: { readonly slot: number }) {
  const desk = useDesk();
  useStore(desk.picture);
  const now = fixNowMs(desk.config, useNow());
  const person = useStore(desk.people, (state) => state.bySlot.get(slot));
  const bookings = useStore(desk.bookings, (state) => state.byId);
  const dot = desk.field.dots.get(slot);
  const booking = [...bookings.values()].find((each) => each.worker?.slot === slot && !ENDED_STATES.has(each.state) && each.state !== "completed");

  useEffect(() => {
    const place = desk.field.dots.get(slot);
    if (place) desk.flyTo(place, 15.5);
  }, [desk, slot]);

  return (
    <>
      <PanelHead title={person?.full_name ?? `Worker ${slot}`} note={`number ${slot}`} back={{ name: "workers" }} />
      <div className="panel-body padded" data-testid="worker-panel" data-slot={slot}>
        <p className="headline">{dot ? <StateTag look={WORKER_LOOKS[dot.status]} /> : <span className="quiet">Not in this view</span>}</p>
        <dl className="facts">
          <dt>Position</dt>
          <dd>
            {dot ? (
              <>
                <button type="button" className="link" onClick={() => desk.flyTo(dot, 16)} data-testid="worker-position">
                  {latLngWords(dot)}
                </button>
                <span className="faint block">last fix {durationWords(now - dot.tsMs)} ago</span>
              </>
            ) : (
              "move the map to where they are, or wait for a fix"
            )}
          </dd>
          {dot && (
            <>
              <dt>Heading</dt>
              <dd>{dot.headingDeg === null ? "not told" : `${Math.round(dot.headingDeg)}°`}</dd>
              <dt>Battery</dt>
              <dd>{dot.batteryPct === null ? "not told" : `${dot.batteryPct} %`}</dd>
            </>
          )}
          {person && (
            <>
              <dt>Skills</dt>
              <dd>{person.skills.map((skill) => skill.replaceAll("_", " ")).join(", ") || "none"}</dd>
              <dt>Rating</dt>
              <dd>{person.rating === null ? "none yet" : `${person.rating.toFixed(1)} of 5`}</dd>
            </>
          )}
          <dt>Job</dt>
          <dd>
            {booking ? (
              <a href={hashOf({ name: "booking", id: booking.booking_id })}>
                <StateTag look={BOOKING_LOOKS[booking.state]} /> {booking.address.line}
              </a>
            ) : (
              "none"
            )}
          </dd>
        </dl>
      </div>
    </>
  );
}
