import { useId, useState } from "react";

import { Outcome } from "./Outcome";
import type { LastPlace, PrivacyClient } from "./privacyClient";
import { pinProblem } from "./setupDraft";
import { useAction } from "./useAction";

const DIGITS_MAX = 8;

/** Say that all is well. Nothing here tells which of the two PINs was given, nor whether anything was going on. */
export function GivePin({ client, place }: { readonly client: PrivacyClient; readonly place: () => LastPlace | undefined }) {
  const action = useAction();
  const [pin, setPin] = useState("");
  return (
    <form
      className="quiet-form"
      onSubmit={(event) => {
        event.preventDefault();
        action.run(async () => {
          await client.givePin(pin, place());
          setPin("");
          return "Thank you. All is in order.";
        });
      }}
    >
      <PinField label="PIN" value={pin} onChange={setPin} testId="give-pin" />
      <button type="submit" className="button" disabled={action.isBusy || pin.length < 4} data-testid="give-pin-send">
        Confirm
      </button>
      <Outcome action={action} />
    </form>
  );
}

export function SetPins({ client }: { readonly client: PrivacyClient }) {
  const action = useAction();
  const [pins, setPins] = useState({ safe: "", duress: "", current: "" });
  const set = (name: keyof typeof pins) => (value: string) => setPins({ ...pins, [name]: value });
  return (
    <form
      className="quiet-form"
      onSubmit={(event) => {
        event.preventDefault();
        const problem = pinProblem(pins.safe, pins.duress);
        if (problem) action.fail(problem);
        else
          action.run(async () => {
            await client.setPins(pins.safe, pins.duress, pins.current);
            setPins({ safe: "", duress: "", current: "" });
            return "Both PINs are set.";
          });
      }}
    >
      <p className="small quiet">
        The first says that all is well. The second looks exactly the same to whoever watches, and tells the desk that you say so against your will.
      </p>
      <PinField label="PIN when all is well" value={pins.safe} onChange={set("safe")} testId="safe-pin" />
      <PinField label="PIN when somebody makes you" value={pins.duress} onChange={set("duress")} testId="duress-pin" />
      <PinField label="One of your present PINs, if you have set some" value={pins.current} onChange={set("current")} testId="current-pin" />
      <button type="submit" className="button" disabled={action.isBusy} data-testid="set-pins">
        Set both
      </button>
      <Outcome action={action} />
    </form>
  );
}

interface PinFieldProps {
  readonly label: string;
  readonly value: string;
  readonly testId: string;
  readonly onChange: (value: string) => void;
}

export function PinField({ label, value, testId, onChange }: PinFieldProps) {
  const id = useId();
  return (
    <label htmlFor={id}>
      {label}
      <input
        id={id}
        type="password"
        inputMode="numeric"
        autoComplete="off"
        maxLength={DIGITS_MAX}
        value={value}
        onChange={(event) => onChange(event.currentTarget.value.replace(/\D/g, ""))}
        data-testid={testId}
      />
    </label>
  );
}
