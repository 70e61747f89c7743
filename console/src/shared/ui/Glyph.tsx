import type { ReactNode } from "react";

import type { Look, Shape } from "./states";

const PATHS: Readonly<Record<Shape, ReactNode>> = {
  circle: <circle cx="6" cy="6" r="4.4" />,
  ring: <circle cx="6" cy="6" r="3.6" fill="none" stroke="currentColor" strokeWidth="2" />,
  diamond: <path d="M6 .8 11.2 6 6 11.2.8 6z" />,
  square: <rect x="1.6" y="1.6" width="8.8" height="8.8" rx="1" />,
  triangle: <path d="M6 1 11.2 10.4H.8z" />,
  bars: <path d="M1.6 1.4h3.2v9.2H1.6zM7.2 1.4h3.2v9.2H7.2z" />,
  check: <path d="m1.6 6.4 2.9 3 5.9-6.6" fill="none" stroke="currentColor" strokeWidth="2.2" />,
  cross: <path d="m2.2 2.2 7.6 7.6m0-7.6L2.2 9.8" fill="none" stroke="currentColor" strokeWidth="2.2" />,
  half: (
    <>
      <circle cx="6" cy="6" r="4" fill="none" stroke="currentColor" strokeWidth="1.6" />
      <path d="M6 2a4 4 0 0 1 0 8z" />
    </>
  ),
  alarm: <path d="M3.8.8h4.4l3 3v4.4l-3 3H3.8l-3-3V3.8z" />,
};

/** The shape of a state in its colour. Decorative: the state's name always stands beside it. */
export function Glyph({ look, size = 12 }: { readonly look: Look; readonly size?: number }) {
  return (
    <svg
      className="glyph"
      width={size}
      height={size}
      viewBox="0 0 12 12"
      aria-hidden="true"
      focusable="false"
      fill="currentColor"
      stroke="var(--glyph-edge)"
      strokeWidth="0.8"
      style={{ color: `var(${look.colour})` }}
    >
      {PATHS[look.shape]}
    </svg>
  );
}

export function StateTag({ look }: { readonly look: Look }) {
  return (
    <span className="state-tag">
      <Glyph look={look} />
      {look.label}
    </span>
  );
}
