import { useId, useState, type SubmitEvent, type ReactNode } from "react";

import { sentenceOf } from "../protocol/problem";
import { Wordmark } from "../ui/Wordmark";
import type { Session } from "./session";
import "./sign-in.css";

interface SignInProps {
  readonly session: Session;
  readonly title: string;
  readonly lead: string;
  readonly reason: string | null;
  readonly hint?: ReactNode;
}

/** The sign-in form of all three pages. */
export function SignIn({ session, title, lead, reason, hint }: SignInProps) {
  const [isBusy, setBusy] = useState(false);
  const [problem, setProblem] = useState<string | null>(reason);
  const ids = { email: useId(), password: useId(), problem: useId() };

  const submit = async (event: SubmitEvent<HTMLFormElement>): Promise<void> => {
    event.preventDefault();
    const form = new FormData(event.currentTarget);
    const text = (name: string): string => {
      const value = form.get(name);
      return typeof value === "string" ? value : "";
    };
    setBusy(true);
    setProblem(null);
    try {
      await session.signIn(text("email"), text("password"));
    } catch (error) {
      setProblem(sentenceOf(error));
      setBusy(false);
    }
  };

  return (
    <main className="sign-in">
      <form className="sign-in-card" onSubmit={(event) => void submit(event)} aria-describedby={ids.problem}>
        <Wordmark />
        <div>
          <h1>{title}</h1>
          <p className="quiet">{lead}</p>
        </div>
        <label htmlFor={ids.email}>
          E-mail
          <input id={ids.email} name="email" type="email" autoComplete="username" required autoFocus data-testid="email" />
        </label>
        <label htmlFor={ids.password}>
          Password
          <input id={ids.password} name="password" type="password" autoComplete="current-password" required data-testid="password" />
        </label>
        <p id={ids.problem} className="form-problem" role="alert" data-testid="sign-in-problem">
          {problem}
        </p>
        <button type="submit" className="button primary wide" disabled={isBusy} data-testid="sign-in">
          {isBusy ? "Signing in…" : "Sign in"}
        </button>
        {hint}
      </form>
    </main>
  );
}
