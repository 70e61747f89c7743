import { triggerFrame } from "../protocol/frames";
import { offline } from "../protocol/problem";
import type { GatewayLink } from "../protocol/socket";
import type { FrameAck } from "../protocol/types";
import type { Door } from "./triggerSender";

/** The page's open line, on which the alarm is a message of the size and family of a ping, and its answer that of one. */
export function frameDoor(link: Pick<GatewayLink, "on" | "sendFrame">, nextSeq: () => number, timeoutMs: number): Door {
  // One number an alarm: while the server works on it, the same alarm under another one would not be answered.
  const numbers = new Map<string, number>();
  return (body) => {
    const own = numbers.get(body.trigger_id) ?? nextSeq();
    numbers.set(body.trigger_id, own);
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => end(() => reject(offline("The server did not answer in time."))), timeoutMs);
      const stop = link.on("ack", ({ seq, state }: FrameAck) => {
        if (seq !== own || state === 0) return;
        end(() => resolve({ trigger_id: body.trigger_id, state: state === 2 ? "committed" : "spooled" }));
      });
      const end = (settle: () => void): void => {
        clearTimeout(timer);
        stop();
        settle();
      };
      if (!link.sendFrame(triggerFrame(own, body))) end(() => reject(offline()));
    });
  };
}
