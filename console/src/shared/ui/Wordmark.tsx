/** The mark: a cell with a person in it. `children` is the discreet dot of the phone apps. */
export function Mark({ size = 20 }: { readonly size?: number }) {
  return (
    <svg width={size} height={size} viewBox="0 0 24 24" aria-hidden="true" focusable="false">
      <path d="M12 2.6 20.2 7.3v9.4L12 21.4 3.8 16.7V7.3z" fill="none" stroke="var(--busy)" strokeWidth="1.9" strokeLinejoin="round" />
      <circle cx="12" cy="12" r="3.1" fill="var(--free)" />
    </svg>
  );
}

export function Wordmark() {
  return (
    <span className="wordmark">
      <Mark />
      <span>Clenzy</span>
    </span>
  );
}
