import { StrictMode, type ReactNode } from "react";
import { createRoot, type Root } from "react-dom/client";

import "./base.css";
import { send } from "./protocol/rest";
import type { Role, ServerConfig } from "./protocol/types";
import { Session } from "./session/session";
import { startTheme, type Theme } from "./ui/theme";

const CONFIG_RETRY_MS = 2_000;

interface Boot {
  readonly page: "console" | "worker" | "customer";
  readonly roles: readonly Role[];
  readonly theme: Theme | "system";
  readonly render: (config: ServerConfig, session: Session) => ReactNode;
}

/** Start a page: theme, addresses from `/v1/config`, the session of before a reload, then the app. */
export async function boot({ page, roles, theme, render }: Boot): Promise<void> {
  const { root, config } = await opened(theme);
  // The pages are served by the API itself: its own origin is right behind any proxy.
  const session = new Session({
    apiUrl: location.origin,
    storage: sessionStorage,
    storageKey: `clenzy.session.${page}`,
    allowedRoles: roles,
    nowMs: () => Date.now(),
  });
  root.render(<StrictMode>{render(config, session)}</StrictMode>);
  await session.restore();
}

/** Start a page that nobody signs in to. */
export async function bootPublic(theme: Theme | "system", render: (config: ServerConfig) => ReactNode): Promise<void> {
  const { root, config } = await opened(theme);
  root.render(<StrictMode>{render(config)}</StrictMode>);
}

async function opened(theme: Theme | "system"): Promise<{ readonly root: Root; readonly config: ServerConfig }> {
  startTheme(theme);
  const element = document.getElementById("root");
  if (!element) throw new Error("the page has no #root");
  const root = createRoot(element);
  const config = await untilAnswered(() =>
    root.render(
      <main className="waiting" role="status">
        <h1>Waiting for the server</h1>
        <p>The page goes on by itself as soon as it answers.</p>
      </main>,
    ),
  );
  return { root, config };
}

async function untilAnswered(showWaiting: () => void): Promise<ServerConfig> {
  for (;;) {
    try {
      return await send<ServerConfig>("/v1/config", "GET", null);
    } catch {
      showWaiting();
      await new Promise((resume) => setTimeout(resume, CONFIG_RETRY_MS));
    }
  }
}
