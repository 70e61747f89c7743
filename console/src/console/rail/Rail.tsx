import type { ReactNode } from "react";
import { useStore } from "zustand";

import { BOOKING_STATES } from "../../shared/protocol/types";
import type { Session } from "../../shared/session/session";
import { Age } from "../../shared/ui/Age";
import { Glyph } from "../../shared/ui/Glyph";
import { ALARM_LOOK, BOOKING_LOOKS, ENDED_STATES } from "../../shared/ui/states";
import { chooseTheme, currentTheme } from "../../shared/ui/theme";
import { Wordmark } from "../../shared/ui/Wordmark";
import { useDesk } from "../deskContext";
import { openAlarms } from "../incidents/incidentsStore";
import { KEYS } from "../keys";
import { LinkRow } from "../links/LinkRow";
import { hashOf, usePanel, type Panel } from "../route";

interface RailProps {
  readonly session: Session;
  readonly openPalette: () => void;
}

/** Where to go, how much there is, and whether what is seen is true right now. */
export function Rail({ session, openPalette }: RailProps) {
  const desk = useDesk();
  const stats = useStore(desk.stats, (state) => state.latest);
  const alarms = useStore(desk.work.store, (state) => openAlarms(state.byId).length);
  const active = stats ? BOOKING_STATES.filter((state) => !ENDED_STATES.has(state)).reduce((sum, state) => sum + (stats.bookings[state] ?? 0), 0) : null;
  return (
    <nav className="rail" aria-label="Desk">
      <header className="rail-head">
        <Wordmark />
        <span className="quiet small">{desk.config.region.name}</span>
      </header>
      <ul className="rail-nav">
        <NavItem panel={{ name: "map" }} label="Map" hotkey={KEYS.map} />
        <NavItem panel={{ name: "bookings" }} label="Bookings" hotkey={KEYS.bookings} count={active} />
        <NavItem panel={{ name: "incidents" }} label="Incidents" hotkey={KEYS.incidents} count={alarms} isAlarm={alarms > 0} />
        <NavItem panel={{ name: "silence" }} label="Not heard of" hotkey={KEYS.silence} />
        <NavItem panel={{ name: "workers" }} label="Workers" hotkey={KEYS.workers} count={stats?.workers_live ?? null} />
        <NavItem panel={{ name: "safety" }} label="Drills and figures" hotkey={KEYS.safety} />
      </ul>
      <Figures />
      <footer className="rail-foot">
        <LinkRow name="Gateway" kind="gateway" />
        <LinkRow name="SafeTap" kind="safetap" />
        <SoundButton />
        <div className="rail-buttons">
          <button type="button" className="button quiet" onClick={openPalette} data-testid="open-palette">
            Commands <kbd>Ctrl K</kbd>
          </button>
          <button type="button" className="button quiet" onClick={() => chooseTheme(currentTheme() === "dark" ? "light" : "dark")}>
            Light / dark
          </button>
          <button type="button" className="button quiet" onClick={() => void session.signOut()} data-testid="sign-out">
            Sign out
          </button>
        </div>
      </footer>
    </nav>
  );
}

interface NavItemProps {
  readonly panel: Panel;
  readonly label: string;
  readonly hotkey: string;
  readonly count?: number | null;
  readonly isAlarm?: boolean;
}

function NavItem({ panel, label, hotkey, count, isAlarm = false }: NavItemProps) {
  const current = usePanel();
  const isHere = current.name === panel.name || `${current.name}s` === panel.name;
  return (
    <li>
      <a href={hashOf(panel)} className="nav-item" aria-current={isHere ? "page" : undefined} data-alarm={isAlarm} data-testid={`nav-${panel.name}`}>
        {isAlarm && <Glyph look={ALARM_LOOK} />}
        <span className="grow">{label}</span>
        {count !== undefined && <span className="nav-count">{count === null ? "–" : count.toLocaleString("en")}</span>}
        <kbd aria-hidden="true">{hotkey.toUpperCase()}</kbd>
      </a>
    </li>
  );
}

function Figures() {
  const desk = useDesk();
  const stats = useStore(desk.stats, (state) => state.latest);
  return (
    <section className="figures" aria-label="Figures" data-testid="figures">
      <header>
        <h2>Now</h2>
        <Age at={stats?.at_ms} />
      </header>
      <dl>
        <Figure name="Workers live" value={stats?.workers_live} unit={stats ? `of ${stats.workers_on_duty.toLocaleString("en")}` : ""} />
        <Figure name="Fixes" value={stats ? Math.round(stats.fixes_per_s) : undefined} unit="per s" />
      </dl>
      <h2>Bookings</h2>
      <dl>
        {BOOKING_STATES.map((state) => (
          <Figure
            key={state}
            name={
              <span className="state-tag">
                <Glyph look={BOOKING_LOOKS[state]} />
                {BOOKING_LOOKS[state].label}
              </span>
            }
            value={stats ? (stats.bookings[state] ?? 0) : undefined}
          />
        ))}
      </dl>
    </section>
  );
}

function Figure({ name, value, unit }: { readonly name: ReactNode; readonly value: number | undefined; readonly unit?: string }) {
  return (
    <div className="figure">
      <dt>{name}</dt>
      <dd>
        {value === undefined ? "–" : value.toLocaleString("en")} {unit && <span className="faint">{unit}</span>}
      </dd>
    </div>
  );
}

function SoundButton() {
  const { sound, watch } = useDesk();
  const { isAllowed, isMuted } = useStore(sound.state);
  const { isArmed } = useStore(watch);
  const words = isMuted ? "Sound muted" : !isAllowed ? "Sound off until you click" : isArmed ? "Sound on, desk armed" : "Sound on";
  return (
    <button type="button" className="link-row as-button" aria-pressed={!isMuted} onClick={() => sound.setMuted(!isMuted)} data-testid="sound" data-armed={isArmed}>
      <Glyph look={{ label: words, shape: isMuted || !isAllowed ? "cross" : "circle", colour: isMuted || !isAllowed ? "--offered" : "--free" }} />
      <span className="grow">{words}</span>
      <kbd aria-hidden="true">{KEYS.mute.toUpperCase()}</kbd>
    </button>
  );
}
