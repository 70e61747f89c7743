/** What this browser lets this page hear. `unknown`: it does not say, so nothing is heard. */
export type MicrophoneState = PermissionState | "unknown";

export async function microphoneState(): Promise<MicrophoneState> {
  if (!("permissions" in navigator) || !("mediaDevices" in navigator)) return "unknown";
  return navigator.permissions.query({ name: "microphone" }).then(
    ({ state }) => state,
    () => "unknown",
  );
}

/** Ask now, in a quiet hour, so that nothing has to be asked during an alarm. */
export async function askForMicrophone(): Promise<MicrophoneState> {
  if (!("mediaDevices" in navigator)) return "unknown";
  await navigator.mediaDevices.getUserMedia({ audio: true }).then(release, () => undefined);
  return microphoneState();
}

/** The microphone, or null where it would be asked for: a question on the screen would be seen. */
export async function openMicrophone(): Promise<MediaStream | null> {
  if ((await microphoneState()) !== "granted") return null;
  return navigator.mediaDevices.getUserMedia({ audio: true }).catch(() => null);
}

export function release(stream: MediaStream): void {
  for (const track of stream.getTracks()) track.stop();
}
