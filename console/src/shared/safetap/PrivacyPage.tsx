import { lazy, Suspense } from "react";

import type { PrivacyScreenProps } from "./PrivacyScreen";

/** Fetched when somebody opens it: most days nobody does. */
const PrivacyScreen = lazy(() => import("./PrivacyScreen"));

export function PrivacyPage(props: PrivacyScreenProps) {
  return (
    <Suspense fallback={<div className="card skeleton-card" role="status" aria-label="Loading" />}>
      <PrivacyScreen {...props} />
    </Suspense>
  );
}

/** The way there, at the foot of the page, as every app has one. */
export function PrivacyLink({ onOpen }: { readonly onOpen: () => void }) {
  return (
    <footer className="phone-foot">
      <button type="button" className="button quiet" onClick={onOpen} data-testid="privacy-link">
        Privacy and safety
      </button>
    </footer>
  );
}
