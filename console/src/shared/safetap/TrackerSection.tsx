import { useCallback, useEffect, useState } from "react";

import { CopyField } from "./CopyField";
import { Outcome } from "./Outcome";
import type { PrivacyClient, TrackerSetup } from "./privacyClient";
import { QrCode } from "./QrCode";
import { useAction } from "./useAction";

const APPS = [
  { kind: "traccar", name: "Traccar Client" },
  { kind: "osmand", name: "OsmAnd" },
] as const;

/** A tracker from a store: it works behind a locked screen, and its SOS goes where the page's own does. */
export function TrackerSection({ client }: { readonly client: PrivacyClient }) {
  const action = useAction();
  const [setup, setSetup] = useState<TrackerSetup | null>(null);
  const [devices, setDevices] = useState<readonly { readonly device_id: string; readonly kind: string }[]>([]);
  const refresh = useCallback(
    () =>
      client.trackers().then(
        (items) => setDevices(items.filter(({ revoked_at }) => revoked_at === null)),
        () => undefined,
      ),
    [client],
  );
  useEffect(() => void refresh(), [refresh]);
  return (
    <div className="quiet-form">
      <p className="small quiet">The app tells where you are while you are on duty, and its SOS works with the phone locked. Try it once with your dispatcher: some versions send an ordinary position instead.</p>
      {APPS.map(({ kind, name }) => (
        <button
          key={kind}
          type="button"
          className="button"
          disabled={action.isBusy}
          data-testid={`tracker-${kind}`}
          onClick={() =>
            action.run(async () => {
              setSetup(await client.addTracker(kind));
              await refresh();
              return "Shown once: read the code with the app now.";
            })
          }
        >
          Set up {name}
        </button>
      ))}
      {setup && (
        <>
          <QrCode text={setup.deep_link ?? setup.url} label={`Code to read with ${setup.app}`} />
          <CopyField label="Server address" value={setup.url} testId="tracker-url" />
        </>
      )}
      <ul className="quiet-list">
        {devices.map((device) => (
          <li key={device.device_id}>
            <span className="grow">{APPS.find(({ kind }) => kind === device.kind)?.name ?? device.kind}</span>
            <button
              type="button"
              className="button quiet"
              disabled={action.isBusy}
              onClick={() =>
                action.run(async () => {
                  await client.removeTracker(device.device_id);
                  setSetup(null);
                  await refresh();
                  return "Removed.";
                })
              }
            >
              Remove
            </button>
          </li>
        ))}
      </ul>
      <Outcome action={action} />
    </div>
  );
}
