import { useId, useState } from "react";

/** Something to carry into another app: shown whole, copied with one touch. */
export function CopyField({ label, value, testId }: { readonly label: string; readonly value: string; readonly testId?: string }) {
  const id = useId();
  const [isCopied, setCopied] = useState(false);
  return (
    <div className="copy-field">
      <label htmlFor={id}>{label}</label>
      <input id={id} readOnly value={value} onFocus={(event) => event.currentTarget.select()} data-testid={testId} />
      <button type="button" className="button" onClick={() => void navigator.clipboard.writeText(value).then(() => setCopied(true), () => undefined)}>
        {isCopied ? "Copied" : `Copy ${label.toLowerCase()}`}
      </button>
    </div>
  );
}
