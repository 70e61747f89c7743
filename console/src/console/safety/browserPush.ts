import { Problem } from "../../shared/protocol/problem";
import type { Rest } from "../../shared/protocol/rest";

export type BrowserPush =
  | { readonly state: "unsupported" | "not_set_up" | "denied" }
  | { readonly state: "off"; readonly publicKey: string }
  | { readonly state: "on"; readonly publicKey: string; readonly subscription: PushSubscription };

interface ServerPush {
  readonly public_key: string | null;
}

const WORKER_URL = "/desk-push.js";
const PATH = "/v1/me/push-subscriptions";

/** How things stand, without asking the person anything. */
export async function browserState(rest: Rest): Promise<BrowserPush> {
  if (!("serviceWorker" in navigator) || !("PushManager" in window)) return { state: "unsupported" };
  const { public_key: publicKey } = await rest.get<ServerPush>(PATH);
  if (publicKey === null) return { state: "not_set_up" };
  if (Notification.permission === "denied") return { state: "denied" };
  const registration = await navigator.serviceWorker.getRegistration(WORKER_URL);
  const subscription = (await registration?.pushManager.getSubscription()) ?? null;
  return subscription ? { state: "on", publicKey, subscription } : { state: "off", publicKey };
}

/** Ask for permission and subscribe; must run in a person's click, else browsers refuse. */
export async function subscribeBrowser(rest: Rest, publicKey: string): Promise<BrowserPush> {
  if ((await Notification.requestPermission()) !== "granted") throw new Problem(0, "denied", "The browser did not allow notifications.");
  await navigator.serviceWorker.register(WORKER_URL);
  const registration = await navigator.serviceWorker.ready;
  const subscription = await registration.pushManager.subscribe({ userVisibleOnly: true, applicationServerKey: publicKey });
  // The same endpoint again keeps its id, and tells it here.
  await rest.post(PATH, subscription.toJSON());
  return { state: "on", publicKey, subscription };
}

export async function unsubscribeBrowser(rest: Rest, push: Extract<BrowserPush, { state: "on" }>): Promise<BrowserPush> {
  const { subscription_id: id } = await rest.post<{ readonly subscription_id: string }>(PATH, push.subscription.toJSON());
  await rest.delete(`${PATH}/${id}`);
  await push.subscription.unsubscribe();
  return { state: "off", publicKey: push.publicKey };
}
