import { useEffect, useState } from "react";

import type { ServerConfig } from "../shared/protocol/types";
import type { Session } from "../shared/session/session";
import { SignIn } from "../shared/session/SignIn";
import { useSession } from "../shared/session/useSession";
import { Desk } from "./desk";
import { DeskContext } from "./deskContext";
import { DeskScreen } from "./DeskScreen";

interface ConsoleProps {
  readonly config: ServerConfig;
  readonly session: Session;
}

/** The dispatcher's page: the sign-in form, then the desk. */
export function Console({ config, session }: ConsoleProps) {
  const state = useSession(session);
  if (state.phase === "restoring") return null;
  if (state.phase === "signed_out") {
    return <SignIn session={session} title="Dispatch console" lead={config.region.name} reason={state.reason} />;
  }
  return <SignedIn key={state.person.personId} config={config} session={session} />;
}

function SignedIn({ config, session }: ConsoleProps) {
  const [desk] = useState(() => new Desk(config, session));
  useEffect(() => {
    desk.start();
    return () => desk.stop();
  }, [desk]);
  return (
    <DeskContext value={desk}>
      <DeskScreen session={session} />
    </DeskContext>
  );
}
