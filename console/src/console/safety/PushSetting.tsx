import { useEffect, useState } from "react";

import { useDesk } from "../deskContext";
import { useTask } from "../useTask";
import { browserState, subscribeBrowser, unsubscribeBrowser, type BrowserPush } from "./browserPush";

const WORDS: Readonly<Record<BrowserPush["state"], string>> = {
  unsupported: "This browser takes no push messages.",
  not_set_up: "This installation sends no push messages (its key is not set up).",
  denied: "This browser was told to show no notifications of this page: change that in its settings.",
  off: "This browser is not told of alarms while the page is closed.",
  on: "This browser is told of alarms, also while the page is closed. A lock screen shows neither a name nor a place.",
};

/** Being told away from the desk. The browser asks for permission only when the button is pressed. */
export function PushSetting() {
  const { rest } = useDesk();
  const [push, setPush] = useState<BrowserPush | null>(null);
  const { isBusy, problem, run } = useTask();
  useEffect(() => {
    let isWanted = true;
    browserState(rest).then(
      (found) => isWanted && setPush(found),
      () => undefined,
    );
    return () => {
      isWanted = false;
    };
  }, [rest]);
  return (
    <section className="actions column" data-testid="push-setting" data-push={push?.state ?? "unknown"}>
      <h3>On call, away from this desk</h3>
      <p className="small">{push === null ? "Looking…" : WORDS[push.state]}</p>
      {push?.state === "off" && (
        <button type="button" className="button wide" disabled={isBusy} onClick={() => run(subscribeBrowser(rest, push.publicKey).then(setPush))} data-testid="push-on">
          Tell this browser of alarms
        </button>
      )}
      {push?.state === "on" && (
        <button type="button" className="button wide" disabled={isBusy} onClick={() => run(unsubscribeBrowser(rest, push).then(setPush))} data-testid="push-off">
          Stop telling this browser
        </button>
      )}
      <p className="form-problem" role="alert">
        {problem}
      </p>
    </section>
  );
}
