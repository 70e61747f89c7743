/** SHA-256 over the hash of the chunk before (32 zero bytes before the first) and a chunk's bytes: docs/protocol.md, section 4. */

const GENESIS = new Uint8Array(32);

/** What a look at every chunk found. */
export type ChainVerdict = { readonly isWhole: true; readonly data: Blob } | { readonly isWhole: false; readonly why: string };

export async function linkHash(previous: Uint8Array, data: Uint8Array): Promise<Uint8Array> {
  const linked = new Uint8Array(previous.length + data.length);
  linked.set(previous);
  linked.set(data, previous.length);
  return new Uint8Array(await crypto.subtle.digest("SHA-256", linked));
}

/** Where the chain of these chunks ends, as lower-case hex. */
export async function chainHead(chunks: readonly Uint8Array[]): Promise<string> {
  let hash: Uint8Array = GENESIS;
  for (const chunk of chunks) hash = await linkHash(hash, chunk);
  return hex(hash);
}

/** Whether the bytes that came are those that the record's hash was made of. */
export async function judgeChain(chunks: readonly Uint8Array<ArrayBuffer>[], told: { readonly chunks: number; readonly sha256: string | null }, mediaType: string): Promise<ChainVerdict> {
  if (chunks.length !== told.chunks) return { isWhole: false, why: `${chunks.length} of ${told.chunks} chunks came` };
  if ((await chainHead(chunks)) !== told.sha256) return { isWhole: false, why: "the bytes are not those that were hashed" };
  return { isWhole: true, data: new Blob([...chunks], { type: mediaType }) };
}

/** A file in pieces of at most `bytesMax`; an empty one has none. */
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
