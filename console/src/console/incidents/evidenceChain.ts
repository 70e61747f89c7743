import { GENESIS, hex, linkHash } from "../../shared/protocol/chain";

/** What a look at every chunk found. */
export type ChainVerdict = { readonly isWhole: true; readonly data: Blob } | { readonly isWhole: false; readonly why: string };

/** Where the chain of these chunks ends, as lower-case hex. */
export async function chainHead(chunks: readonly Uint8Array[]): Promise<string> {
  let hash = GENESIS;
  for (const chunk of chunks) hash = await linkHash(hash, chunk);
  return hex(hash);
}

/** Whether the bytes that came are those that the record's hash was made of. */
export async function judgeChain(chunks: readonly Uint8Array<ArrayBuffer>[], told: { readonly chunks: number; readonly sha256: string | null }, mediaType: string): Promise<ChainVerdict> {
  if (chunks.length !== told.chunks) return { isWhole: false, why: `${chunks.length} of ${told.chunks} chunks came` };
  if ((await chainHead(chunks)) !== told.sha256) return { isWhole: false, why: "the bytes are not those that were hashed" };
  return { isWhole: true, data: new Blob([...chunks], { type: mediaType }) };
}
