/** SHA-256 over the hash of the chunk before (32 zero bytes before the first) and a chunk's bytes: docs/protocol.md, section 4. */

export const GENESIS: Uint8Array = new Uint8Array(32);

export async function linkHash(previous: Uint8Array, data: Uint8Array): Promise<Uint8Array> {
  const linked = new Uint8Array(previous.length + data.length);
  linked.set(previous);
  linked.set(data, previous.length);
  return new Uint8Array(await crypto.subtle.digest("SHA-256", linked));
}

/** Bytes in parts of at most `bytesMax`; of none there are none. */
export function* slices(data: Uint8Array, bytesMax: number): Generator<Uint8Array> {
  for (let at = 0; at < data.length; at += bytesMax) yield data.subarray(at, at + bytesMax);
}

export function base64(data: Uint8Array): string {
  let text = "";
  // `apply` takes its arguments from the stack: a few thousand at a time.
  for (const part of slices(data, 8_192)) text += String.fromCharCode(...part);
  return btoa(text);
}

export function hex(data: Uint8Array): string {
  return [...data].map((byte) => byte.toString(16).padStart(2, "0")).join("");
}
