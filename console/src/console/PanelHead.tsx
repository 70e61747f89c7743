import type { ReactNode } from "react";

import { hashOf, type Panel } from "./route";

interface PanelHeadProps {
  readonly title: ReactNode;
  readonly note?: ReactNode;
  readonly back?: Panel;
}

/** Title of a panel, the way back, and the way out. */
export function PanelHead({ title, note, back }: PanelHeadProps) {
  return (
    <header className="panel-head">
      {back && (
        <a className="button quiet square" href={hashOf(back)} aria-label="Back">
          ←
        </a>
      )}
      <div className="grow">
        <h2>{title}</h2>
        {note && <p className="faint small">{note}</p>}
      </div>
      <a className="button quiet square" href={hashOf({ name: "map" })} aria-label="Close panel" data-testid="close-panel">
        ✕
      </a>
    </header>
  );
}
