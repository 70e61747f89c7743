import { useEffect, useRef, useState } from "react";

import type { Incident, IncidentContact, IncidentEvent } from "../../shared/protocol/types";
import { clockTime } from "../../shared/ui/time";
import { useDesk } from "../deskContext";
import { useTask } from "../useTask";
import { messagesOf, type Message } from "./chatMessages";
import { quickReplies } from "./words";

interface ChatProps {
  readonly incident: Incident;
  readonly contact: IncidentContact;
  readonly events: readonly IncidentEvent[];
}

/** Text to and from the person's phone, only where they chose it: what is sent appears there without a sound. */
export function Chat({ incident, contact, events }: ChatProps) {
  const { work } = useDesk();
  const [text, setText] = useState("");
  const { isBusy, problem, run } = useTask();
  const { incident_id: id } = incident;
  const messages = messagesOf(events, incident.person.person_id);
  const say = (words: string): void => run(work.say(id, words).then(() => setText("")));
  return (
    <section data-testid="chat" aria-label="Silent chat">
      <h3>Silent chat</h3>
      <Messages messages={messages} name={incident.person.name} />
      {incident.state !== "closed" && (
        <form
          className="actions column"
          onSubmit={(event) => {
            event.preventDefault();
            if (text.trim()) say(text.trim());
          }}
        >
          <div className="chips" role="group" aria-label="Quick replies">
            {quickReplies(contact).map((reply) => (
              <button key={reply} type="button" className="chip" disabled={isBusy} onClick={() => say(reply)} data-testid="quick-reply">
                {reply}
              </button>
            ))}
          </div>
          <label>
            Message to their phone
            <textarea rows={2} maxLength={4000} value={text} onChange={(event) => setText(event.target.value)} data-testid="chat-text" />
          </label>
          <button type="submit" className="button wide" disabled={isBusy || text.trim() === ""} data-testid="chat-send">
            Send silently
          </button>
          <p className="form-problem" role="alert">
            {problem}
          </p>
        </form>
      )}
    </section>
  );
}

function Messages({ messages, name }: { readonly messages: readonly Message[]; readonly name: string }) {
  const list = useRef<HTMLDivElement>(null);
  useEffect(() => {
    list.current?.scrollTo({ top: list.current.scrollHeight });
  }, [messages.length]);
  if (messages.length === 0) return <p className="faint small">Nothing written yet.</p>;
  return (
    <div ref={list} className="chat-log" role="log" aria-label="Messages" tabIndex={0}>
      <ol className="chat">
        {messages.map((message) => (
          <li key={message.n} data-from={message.isTheirs ? "person" : "desk"} data-testid="chat-message">
            <span>{message.text}</span>
            <span className="faint small">
              {message.isTheirs ? name : message.by}, {clockTime(message.at)}
              {!message.isTheirs && (message.seenAt ? ` · seen ${clockTime(message.seenAt)}` : " · not seen yet")}
            </span>
          </li>
        ))}
      </ol>
    </div>
  );
}
