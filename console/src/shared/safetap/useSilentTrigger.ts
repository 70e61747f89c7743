import { useEffect, useMemo, useRef, useState, type PointerEvent as ReactPointerEvent } from "react";

import { newId } from "../protocol/ids";
import { send } from "../protocol/rest";
import type { GatewayLink } from "../protocol/socket";
import type { ServerConfig, TriggerAnswer, TriggerBody, TriggerKind } from "../protocol/types";
import type { Session } from "../session/session";
import { openRecordStore } from "../storage/recordStore";
import { buzz, keepCue, loadCue } from "./cue";
import { privacyClient } from "./privacyClient";
import { TriggerSender, type Door, type TriggerProgress, type TriggerRecord } from "./triggerSender";

const HOLD_MS = 2_000;
const TAPS = 3;
const TAPS_WITHIN_MS = 1_200;
/** The cue goes away again, so that nobody who looks later can read it. */
const CUE_MS = 20_000;
const DOOR_TIMEOUT_MS = 5_000;
/** Whoever looks into the browser's storage finds one more outbox. */
const OUTBOX = "clenzy-outbox";

export interface TriggerWiring {
  readonly config: ServerConfig;
  readonly session: Session;
  readonly link: GatewayLink;
  readonly personId: string;
  /** What is known at the moment of the trigger: the job and the last position. */
  readonly context: () => Omit<TriggerBody, "trigger_id" | "kind">;
}

export interface GestureHandlers {
  readonly onPointerDown: (event: ReactPointerEvent) => void;
  readonly onPointerUp: () => void;
  readonly onPointerCancel: () => void;
  readonly onContextMenu: (event: { preventDefault: () => void }) => void;
}

/**
 * The silent alarm of the phone pages: hold the page's mark for two seconds, or tap it three times quickly.
 * Nothing on the screen changes but, where its owner wants it, one small dot behind the mark (see `QuietMark`).
 */
export function useSilentTrigger(wiring: TriggerWiring): { readonly progress: TriggerProgress; readonly gesture: GestureHandlers } {
  const [progress, setProgress] = useState<TriggerProgress>("idle");
  const { config, session, link, personId } = wiring;
  const context = useRef(wiring.context);
  useEffect(() => {
    context.current = wiring.context;
  });

  const sender = useMemo(
    () =>
      new TriggerSender({
        personId,
        store: openRecordStore<TriggerRecord>(OUTBOX, "id"),
        doors: doorsOf(config, session, link),
        nowMs: wallMs,
        newId,
        sleepMs: (ms) => new Promise((resume) => setTimeout(resume, ms)),
        onProgress: (next) => {
          const cue = loadCue();
          setProgress(cue === "dot" ? next : "idle");
          if (cue === "buzz" && next === "committed") buzz();
        },
      }),
    [config, session, link, personId],
  );

  useEffect(() => {
    const flush = (): void => void sender.flush();
    flush();
    addEventListener("online", flush);
    document.addEventListener("visibilitychange", flush);
    return () => {
      removeEventListener("online", flush);
      document.removeEventListener("visibilitychange", flush);
    };
  }, [sender]);

  useEffect(() => {
    // Chosen on another device, perhaps; without an answer this one goes by what it remembers.
    void privacyClient(config, session).load().then(({ cue }) => keepCue(cue), () => undefined);
  }, [config, session]);

  useEffect(() => {
    if (progress !== "committed") return;
    const timer = setTimeout(() => setProgress("idle"), CUE_MS);
    return () => clearTimeout(timer);
  }, [progress]);

  const gesture = useGesture((kind) => void sender.trigger(kind, context.current()));
  return { progress, gesture };
}

const wallMs = (): number => Date.now();

function useGesture(fire: (kind: TriggerKind) => void): GestureHandlers {
  const hold = useRef<ReturnType<typeof setTimeout> | undefined>(undefined);
  const taps = useRef<number[]>([]);
  const release = (): void => clearTimeout(hold.current);
  useEffect(() => release, []);
  return {
    onPointerDown: (event) => {
      release();
      hold.current = setTimeout(() => fire("hold"), HOLD_MS);
      taps.current = [...taps.current.filter((at) => event.timeStamp - at < TAPS_WITHIN_MS), event.timeStamp];
      if (taps.current.length < TAPS) return;
      taps.current = [];
      release();
      fire("gesture");
    },
    onPointerUp: release,
    onPointerCancel: release,
    // A long press must not open the browser's menu: that would be seen.
    onContextMenu: (event) => event.preventDefault(),
  };
}

/** The socket and SafeTap's own port; and the API, which forwards, for a network that lets only its port through. */
function doorsOf(config: ServerConfig, session: Session, link: GatewayLink): readonly Door[] {
  const byHttp =
    (origin: string): Door =>
    async (body) => {
      // Even an expired token is taken at these doors: never wait for a renewal that may not come.
      const token = session.lastToken() ?? (await session.freshToken());
      return send<TriggerAnswer>(`${origin}/v1/safetap`, "POST", token, {
        body,
        idempotencyKey: body.trigger_id,
        timeoutMs: DOOR_TIMEOUT_MS,
      });
    };
  const bySocket: Door = (body) => link.command<TriggerAnswer>("safetap", body, DOOR_TIMEOUT_MS);
  const bySafetapPort = byHttp(config.safetap_url);
  const byApi = byHttp(location.origin);
  return [bySocket, (body) => bySafetapPort(body).catch(() => byApi(body))];
}
