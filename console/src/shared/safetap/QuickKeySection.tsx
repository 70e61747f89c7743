import { useCallback, useEffect, useState } from "react";

import { CopyField } from "./CopyField";
import { Outcome } from "./Outcome";
import type { ButtonSetup, NewQuickKey, PrivacyClient, QuickKey } from "./privacyClient";
import { useAction } from "./useAction";

interface QuickKeySectionProps {
  readonly client: PrivacyClient;
  readonly safetapUrl: string;
}

/** Keys with which a locked phone, or a button, can ask for help: each stands for one device and does nothing else. */
export function QuickKeySection({ client, safetapUrl }: QuickKeySectionProps) {
  const action = useAction();
  const [keys, setKeys] = useState<readonly QuickKey[]>([]);
  const [fresh, setFresh] = useState<NewQuickKey | null>(null);
  const [button, setButton] = useState<ButtonSetup | null>(null);
  const refresh = useCallback(() => client.keys().then(setKeys, () => undefined), [client]);
  useEffect(() => void refresh(), [refresh]);
  const tellButton = (keyId: string): void =>
    action.run(async () => {
      setButton(await client.button(keyId));
      return undefined;
    });
  return (
    <div className="quiet-form">
      <p className="small quiet">A shortcut on the lock screen works without opening this page. Anyone who holds the key can call for help in your name, and nothing else.</p>
      <form
        className="quiet-form"
        onSubmit={(event) => {
          event.preventDefault();
          const label = new FormData(event.currentTarget).get("label");
          action.run(async () => {
            setButton(null);
            setFresh(await client.addKey(typeof label === "string" && label.trim() ? label.trim() : "My phone"));
            await refresh();
            return "The key is shown once: put it into the shortcut now.";
          });
        }}
      >
        <label>
          Name of the device
          <input name="label" maxLength={60} autoComplete="off" placeholder="My phone" />
        </label>
        <button type="submit" className="button" disabled={action.isBusy} data-testid="add-key">
          Make a key
        </button>
      </form>
      {fresh && <ShortcutSteps secret={fresh.secret} url={`${safetapUrl}/v1/safetap/doors/shortcut`} />}
      {fresh && !button && (
        <button type="button" className="button" disabled={action.isBusy} onClick={() => tellButton(fresh.key_id)}>
          I have a hardware button
        </button>
      )}
      {button && (
        <>
          <CopyField label="Address of the button" value={button.url} />
          <CopyField label="Signing secret" value={button.secret} />
        </>
      )}
      <ul className="quiet-list">
        {keys.map((key) => (
          <li key={key.key_id} data-testid="quick-key">
            <span className="grow">{key.label || "Without a name"}</span>
            <button
              type="button"
              className="button quiet"
              disabled={action.isBusy}
              onClick={() =>
                action.run(async () => {
                  await client.removeKey(key.key_id);
                  if (fresh?.key_id === key.key_id) setFresh(null);
                  await refresh();
                  return "Removed.";
                })
              }
            >
              Remove {key.label}
            </button>
          </li>
        ))}
      </ul>
      <Outcome action={action} />
    </div>
  );
}

function ShortcutSteps({ secret, url }: { readonly secret: string; readonly url: string }) {
  return (
    <>
      <CopyField label="Address" value={url} testId="shortcut-url" />
      <CopyField label="Authorization" value={`Trigger-Key ${secret}`} testId="shortcut-header" />
      <p className="small">
        <strong>iPhone:</strong> in Shortcuts make a new shortcut with <em>Get Contents of URL</em>: the address, method POST, and a header named Authorization with the value
        above. Give it a name of your own and put it on the lock screen, the action button or Back Tap.
      </p>
      <p className="small">
        <strong>Android:</strong> in an app for HTTP shortcuts (or Tasker, an intent) make a POST request with the same address and header, show no result, and put it on
        the lock screen or a double press of a key.
      </p>
    </>
  );
}
