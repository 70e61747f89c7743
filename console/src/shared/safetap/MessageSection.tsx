import { useCallback, useEffect, useState } from "react";

import { Outcome } from "./Outcome";
import type { PrivacyClient } from "./privacyClient";
import { useAction } from "./useAction";

/** A number and a word: a text message that begins with it needs neither this page nor the network's data. */
export function MessageSection({ client }: { readonly client: PrivacyClient }) {
  const action = useAction();
  const [isSet, setSet] = useState(false);
  const [form, setForm] = useState({ phone: "", word: "", calls: false });
  const [number, setNumber] = useState<string | null>(null);
  const refresh = useCallback(
    () =>
      client.phoneDoor().then(
        (door) => {
          setSet(door !== null);
          setNumber(door?.number ?? null);
          if (door) setForm({ phone: door.phone, word: "", calls: door.calls });
        },
        () => undefined,
      ),
    [client],
  );
  useEffect(() => void refresh(), [refresh]);
  return (
    <form
      className="quiet-form"
      onSubmit={(event) => {
        event.preventDefault();
        action.run(async () => {
          const door = await client.setPhoneDoor(form.phone, form.word, form.calls);
          await refresh();
          return door.number ? `Saved. Write to ${door.number}.` : "Saved. This installation has no number to write to yet.";
        });
      }}
    >
      <p className="small quiet">
        A text message from your number that begins with your words is enough. {number && `Write to ${number}.`}
      </p>
      <label>
        My number, with its country
        <input type="tel" autoComplete="off" value={form.phone} onChange={(event) => setForm({ ...form, phone: event.currentTarget.value })} />
      </label>
      <label>
        My words (4 to 60 characters)
        <input autoComplete="off" maxLength={60} value={form.word} onChange={(event) => setForm({ ...form, word: event.currentTarget.value })} />
      </label>
      <label className="choice">
        <input type="checkbox" checked={form.calls} onChange={(event) => setForm({ ...form, calls: event.currentTarget.checked })} />
        <span>
          A mere call is enough
          <small>You hear a busy line.</small>
        </span>
      </label>
      <button type="submit" className="button" disabled={action.isBusy || form.phone.trim() === "" || form.word.trim().length < 4}>
        Save
      </button>
      {isSet && (
        <button
          type="button"
          className="button quiet"
          disabled={action.isBusy}
          onClick={() =>
            action.run(async () => {
              await client.removePhoneDoor();
              setForm({ phone: "", word: "", calls: false });
              await refresh();
              return "Forgotten.";
            })
          }
        >
          Forget my number
        </button>
      )}
      <Outcome action={action} />
    </form>
  );
}
