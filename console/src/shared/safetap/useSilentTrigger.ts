import { useEffect, useMemo, useRef, useState, type PointerEvent as ReactPointerEvent } from "react";

import { newId } from "../protocol/ids";
import { Rest, send } from "../protocol/rest";
import type { GatewayLink } from "../protocol/socket";
import type { ServerConfig, TriggerAnswer, TriggerBody, TriggerKind } from "../protocol/types";
import type { Session } from "../session/session";
import { openRecordStore } from "../storage/recordStore";
import { buzz, keepCue, loadCue } from "./cue";
import { frameDoor } from "./frameDoor";
import { privacyClient } from "./privacyClient";
import type { KeptSetup } from "./setupDraft";
import { SoundRecorder } from "./sound/soundRecorder";
import { TriggerSender, type Door, type TriggerProgress, type TriggerRecord } from "./triggerSender";

const HOLD_MS = 2_000;
const TAPS = 3;
const TAPS_WITHIN_MS = 1_200;
/** The cue goes away again, so that nobody who looks later can read it. */
const CUE_MS = 20_000;
const DOOR_TIMEOUT_MS = 5_000;
/** A chunk of four seconds, over the worst network that still is one. */
const EVIDENCE_TIMEOUT_MS = 30_000;
/** Whoever looks into the browser's storage finds one more outbox. */
const OUTBOX = "clenzy-outbox";

export interface TriggerWiring {
  readonly config: ServerConfig;
  readonly session: Session;
  readonly link: GatewayLink;
  readonly personId: string;
  /** Numbers for frames, where this page sends pings: among them an alarm is one more. */
  readonly nextSeq?: () => number;
  /** What is known at the moment of the trigger: the job and the last position. */
  readonly context: () => Omit<TriggerBody, "trigger_id" | "kind">;
}

export interface GestureHandlers {
  readonly onPointerDown: (event: ReactPointerEvent) => void;
  readonly onPointerUp: () => void;
  readonly onPointerCancel: () => void;
  readonly onContextMenu: (event: { preventDefault: () => void }) => void;
}

export interface SilentTrigger {
  readonly progress: TriggerProgress;
  readonly gesture: GestureHandlers;
  /** For the screen where consent is given and withdrawn. */
  readonly sound: SoundRecorder;
}

/**
 * The silent alarm of the phone pages: hold the page's mark for two seconds, or tap it three times quickly.
 * Nothing on the screen changes but, where its owner wants it, one small dot behind the mark (see `QuietMark`).
 */
export function useSilentTrigger(wiring: TriggerWiring): SilentTrigger {
  const [progress, setProgress] = useState<TriggerProgress>("idle");
  const { config, session, link, personId, nextSeq } = wiring;
  const context = useRef(wiring.context);
  useEffect(() => {
    context.current = wiring.context;
  });

  const [client, sound] = useMemo(() => {
    const asked = privacyClient(config, session);
    const rest = new Rest(location.origin, session);
    return [
      asked,
      new SoundRecorder({
        askAgreed: () => asked.load().then(isAgreed),
        post: (body) => rest.post<{ readonly sha256: string }>("/v1/safetap/evidence", body, { timeoutMs: EVIDENCE_TIMEOUT_MS }),
      }),
    ];
  }, [config, session]);
  useEffect(() => () => sound.forget(), [sound]);

  const sender = useMemo(
    () =>
      new TriggerSender({
        personId,
        store: openRecordStore<TriggerRecord>(OUTBOX, "id"),
        doors: [nextSeq ? frameDoor(link, nextSeq, DOOR_TIMEOUT_MS) : eventDoor(link), httpDoor(config, session)],
        nowMs: wallMs,
        newId,
        sleepMs: (ms) => new Promise((resume) => setTimeout(resume, ms)),
        onProgress: (next) => {
          const cue = loadCue();
          setProgress(cue === "dot" ? next : "idle");
          if (cue === "buzz" && next === "committed") buzz();
        },
        onAlarm: (triggerId) => sound.begin(triggerId),
      }),
    [config, session, link, personId, nextSeq, sound],
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
    // Chosen on another device, perhaps; without an answer this one goes by what it remembers, and asks again.
    void client.load().then(
      (setup) => {
        keepCue(setup.cue);
        sound.agree(isAgreed(setup));
      },
      () => undefined,
    );
  }, [client, sound]);

  useEffect(() => {
    if (progress !== "committed") return;
    const timer = setTimeout(() => setProgress("idle"), CUE_MS);
    return () => clearTimeout(timer);
  }, [progress]);

  const gesture = useGesture((kind) => void sender.trigger(kind, context.current()));
  return { progress, gesture, sound };
}

const wallMs = (): number => Date.now();

const isAgreed = (setup: KeptSetup): boolean => setup.records_sound && setup.sound.is_allowed;

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

/** For a page that sends no pings: among its few events there is nothing to look like. */
function eventDoor(link: GatewayLink): Door {
  return (body) => link.command<TriggerAnswer>("safetap", body, DOOR_TIMEOUT_MS);
}

/** SafeTap's own port; and the API, which forwards, for a network that lets only its port through. */
function httpDoor(config: ServerConfig, session: Session): Door {
  const at =
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
  const [safetap, api] = [at(config.safetap_url), at(location.origin)];
  return (body) => safetap(body).catch(() => api(body));
}
