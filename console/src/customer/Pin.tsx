/** The place of the work; its tip is the place itself. */
export function Pin() {
  return (
    <svg className="pin" width="36" height="44" viewBox="0 0 36 44" aria-hidden="true">
      <path d="M18 43C8 30 3 24 3 16a15 15 0 0 1 30 0c0 8-5 14-15 27z" fill="var(--accent)" stroke="var(--ground)" strokeWidth="2" />
      <circle cx="18" cy="16" r="5.5" fill="var(--ground)" />
    </svg>
  );
}
