/*
 * Shows alarms while the console is closed. It caches nothing and answers no request: a desk must never be served
 * from an old copy. What comes is `{type, incident_id, notice_id, tag, title, body}`: no name and no place.
 */

self.addEventListener("push", (event) => {
  event.waitUntil(show(event.data));
});

self.addEventListener("notificationclick", (event) => {
  event.notification.close();
  event.waitUntil(open(event.notification.data?.incidentId));
});

async function show(data) {
  const alarm = read(data);
  // Browsers take the permission away from who is woken and shows nothing: what cannot be read is an alarm too.
  await self.registration.showNotification(alarm.title ?? "Clenzy: an alarm", {
    body: alarm.body ?? "Open the desk.",
    tag: alarm.tag ?? alarm.incident_id ?? "alarm",
    renotify: true,
    requireInteraction: true,
    icon: "/icon.svg",
    data: { incidentId: alarm.incident_id },
  });
}

function read(data) {
  try {
    return data?.json() ?? {};
  } catch {
    return {};
  }
}

async function open(incidentId) {
  const hash = incidentId ? `#/incidents/${incidentId}` : "#/incidents";
  const pages = await self.clients.matchAll({ type: "window", includeUncontrolled: true });
  const desk = pages.find((page) => new URL(page.url).pathname === "/");
  if (!desk) return self.clients.openWindow(`/${hash}`);
  await desk.focus();
  // A message, not a navigation: the desk keeps its connections and whoever works there their place.
  desk.postMessage({ type: "open", hash });
  return undefined;
}
