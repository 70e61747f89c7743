import { useEffect, useState } from "react";

import { Outcome } from "../Outcome";
import type { PrivacyClient } from "../privacyClient";
import type { KeptSetup, SoundRule } from "../setupDraft";
import { useAction } from "../useAction";
import { askForMicrophone, microphoneState, type MicrophoneState } from "./microphone";
import { RECORD_MIN, type SoundRecorder } from "./soundRecorder";

const NOT_HEARD = "This browser does not let the page use the microphone. Allow it for this page in its settings, for good, and try again.";

/** Consent to a recording, asked in a quiet hour: during an alarm nothing is asked and nothing is shown. */
export function SoundSection({ client, sound }: { readonly client: PrivacyClient; readonly sound: SoundRecorder }) {
  const action = useAction();
  const [setup, setSetup] = useState<KeptSetup | null>(null);
  const [microphone, setMicrophone] = useState<MicrophoneState>("unknown");
  const [problem, setProblem] = useState<string | null>(null);
  useEffect(() => {
    let isWanted = true;
    Promise.all([client.load(), microphoneState()]).then(
      ([found, state]) => {
        if (!isWanted) return;
        setSetup(found);
        setMicrophone(state);
      },
      () => isWanted && setProblem("This could not be read. Close it and open it again."),
    );
    return () => {
      isWanted = false;
    };
  }, [client]);
  if (!setup) return <p role="status">{problem ?? "Loading…"}</p>;
  const { records_sound: isAgreed, sound: rule } = setup;

  const allowMicrophone = async (): Promise<void> => {
    const state = await askForMicrophone();
    setMicrophone(state);
    if (state !== "granted") throw new Error(NOT_HEARD);
  };
  const choose = (isWanted: boolean): void =>
    action.run(async () => {
      if (isWanted) await allowMicrophone();
      const kept = await client.change({ records_sound: isWanted });
      setSetup(kept);
      sound.agree(kept.records_sound && kept.sound.is_allowed);
      return "Saved.";
    });
  return (
    <div className="quiet-form">
      <RuleWords rule={rule} />
      {(rule.is_allowed || isAgreed) && (
        <label className="choice">
          <input
            type="checkbox"
            checked={isAgreed}
            disabled={action.isBusy}
            onChange={(event) => choose(event.currentTarget.checked)}
            aria-describedby="sound-words"
            data-testid="records-sound"
          />
          Record sound when I call for help from this page
        </label>
      )}
      {rule.is_allowed && isAgreed && microphone !== "granted" && (
        <button type="button" className="button" disabled={action.isBusy} onClick={() => action.run(() => allowMicrophone().then(() => "This phone can record."))} data-testid="allow-microphone">
          Let this phone use its microphone
        </button>
      )}
      <Outcome action={action} />
    </div>
  );
}

function RuleWords({ rule }: { readonly rule: SoundRule }) {
  const place = placeWords(rule.country);
  if (!rule.is_allowed) {
    return (
      <p className="small quiet" id="sound-words" data-testid="sound-rule">
        Sound is not recorded {place}: the law there, or whoever runs this service, has not allowed it.
      </p>
    );
  }
  return (
    <div className="small quiet" id="sound-words" data-testid="sound-rule">
      <p>
        From the moment you call for help, for {RECORD_MIN} minutes, this phone sends what it hears to the people who answer alarms, and to nobody else. It goes on after a PIN, so
        that nobody learns anything from its end. Taking the tick away here ends it at once.
      </p>
      <p>This page shows nothing of it. Your phone itself may show its sign for a microphone that is on.</p>
      <p>{consentWords(rule, place)}</p>
    </div>
  );
}

function consentWords({ consent, consent_basis: basis }: SoundRule, place: string): string {
  if (consent === "one_party") return `Your own consent is enough ${place}.`;
  const rule = consent === "all_parties" ? `Everybody who is heard has to agree ${place}` : `Nobody can say for sure whose consent it takes ${place}`;
  return basis === null ? `${rule}.` : `${rule}; this service relies on: ${basis}`;
}

function placeWords(country: string): string {
  if (!/^[A-Z]{2}$/.test(country)) return "where you are";
  const name = new Intl.DisplayNames(["en"], { type: "region" }).of(country) ?? country;
  return `in ${name}`;
}
