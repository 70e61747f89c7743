import { useSyncExternalStore } from "react";

/** What stands beside the map: at most one panel. It lives in the address's hash, so a link to it can be shared. */
export type Panel =
  | { readonly name: "map" }
  | { readonly name: "bookings" }
  | { readonly name: "booking"; readonly id: string }
  | { readonly name: "incidents" }
  | { readonly name: "incident"; readonly id: string }
  | { readonly name: "silence" }
  | { readonly name: "safety" }
  | { readonly name: "workers" }
  | { readonly name: "worker"; readonly slot: number };

export function parseHash(hash: string): Panel {
  const [name, id] = hash.replace(/^#\/?/, "").split("/");
  if (name === "bookings") return id ? { name: "booking", id } : { name };
  if (name === "incidents") return id ? { name: "incident", id } : { name };
  if (name === "silence" || name === "safety") return { name };
  if (name === "workers") return id && /^\d+$/.test(id) ? { name: "worker", slot: Number(id) } : { name };
  return { name: "map" };
}

export function hashOf(panel: Panel): string {
  switch (panel.name) {
    case "booking":
      return `#/bookings/${panel.id}`;
    case "incident":
      return `#/incidents/${panel.id}`;
    case "worker":
      return `#/workers/${panel.slot}`;
    default:
      return `#/${panel.name}`;
  }
}

export function go(panel: Panel): void {
  location.hash = hashOf(panel);
}

const subscribe = (watcher: () => void): (() => void) => {
  addEventListener("hashchange", watcher);
  return () => removeEventListener("hashchange", watcher);
};

let parsed: { readonly hash: string; readonly panel: Panel } = { hash: "", panel: { name: "map" } };

export function usePanel(): Panel {
  return useSyncExternalStore(subscribe, () => {
    if (parsed.hash !== location.hash) parsed = { hash: location.hash, panel: parseHash(location.hash) };
    return parsed.panel;
  });
}
