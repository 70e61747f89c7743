import type { IncidentEvent } from "../../shared/protocol/types";

export interface Message {
  /** The event's number in the incident's history. */
  readonly n: number;
  readonly text: string;
  readonly by: string;
  readonly isTheirs: boolean;
  readonly at: string;
  /** When the person's phone showed it; null: not yet, as far as is known. */
  readonly seenAt: string | null;
}

/** The chat out of an incident's history, oldest first. A `chat_read` says that all before it was seen. Pure. */
export function messagesOf(events: readonly IncidentEvent[], personId: string): readonly Message[] {
  const messages: Message[] = [];
  for (const event of events) {
    if (event.kind === "chat" && typeof event.body.text === "string") {
      const [by, isTheirs] = [event.actor ?? "somebody", event.actor_id === personId];
      messages.push({ n: event.version, text: event.body.text, by, isTheirs, at: event.at, seenAt: null });
    }
    if (event.kind === "chat_read") {
      for (const [at, message] of messages.entries()) {
        if (!message.isTheirs && message.seenAt === null) messages[at] = { ...message, seenAt: event.at };
      }
    }
  }
  return messages;
}
