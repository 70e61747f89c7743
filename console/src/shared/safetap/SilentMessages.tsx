import { useEffect, useState } from "react";

import { clockTime } from "../ui/time";
import { Outcome } from "./Outcome";
import type { PrivacyClient, SilentMessage } from "./privacyClient";
import { useAction } from "./useAction";

const ASK_EVERY_MS = 5_000;

/** Text with the desk, without a sound or a notice; asked for only while it is in sight. */
export function SilentMessages({ client }: { readonly client: PrivacyClient }) {
  const action = useAction();
  const [messages, setMessages] = useState<readonly SilentMessage[] | null>(null);
  const [text, setText] = useState("");
  useEffect(() => {
    const ask = (): void => void client.messages().then(setMessages, () => undefined);
    ask();
    const timer = setInterval(ask, ASK_EVERY_MS);
    return () => clearInterval(timer);
  }, [client]);
  if (messages === null) return <p className="small quiet">Nothing here.</p>;
  return (
    <form
      className="quiet-form"
      onSubmit={(event) => {
        event.preventDefault();
        action.run(async () => {
          setMessages(await client.say(text.trim()));
          setText("");
          return undefined;
        });
      }}
    >
      <ol className="quiet-list" aria-live="polite">
        {messages.map((message) => (
          <li key={message.n}>
            <span className="grow">
              {message.is_mine ? "You: " : ""}
              {message.text}
            </span>
            <time className="faint small" dateTime={message.at}>
              {clockTime(message.at)}
            </time>
          </li>
        ))}
      </ol>
      <label>
        Message
        <input autoComplete="off" maxLength={500} value={text} onChange={(event) => setText(event.currentTarget.value)} />
      </label>
      <button type="submit" className="button" disabled={action.isBusy || text.trim() === ""}>
        Send
      </button>
      <Outcome action={action} />
    </form>
  );
}
