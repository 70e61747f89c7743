import { useEffect, useState } from "react";

import type { Evidence, Incident } from "../../shared/protocol/types";
import { Age } from "../../shared/ui/Age";
import { StateTag } from "../../shared/ui/Glyph";
import type { Look } from "../../shared/ui/states";
import { useDesk } from "../deskContext";
import { useTask } from "../useTask";
import type { ChainVerdict } from "./evidenceChain";

/** What was recorded or added, each piece with its hash; a look fetches every chunk and holds it against that. */
export function EvidenceList({ incident }: { readonly incident: Incident }) {
  const { work } = useDesk();
  const [pieces, setPieces] = useState<readonly Evidence[]>([]);
  const { isBusy, problem, run } = useTask();
  const { incident_id: id, version } = incident;
  useEffect(() => {
    let isWanted = true;
    work.evidence(id).then(
      (found) => isWanted && setPieces(found),
      () => undefined,
    );
    return () => {
      isWanted = false;
    };
  }, [work, id, version]);
  return (
    <section data-testid="evidence">
      <h3>Evidence</h3>
      {pieces.length === 0 && <p className="faint small">None.</p>}
      <ul>
        {pieces.map((piece) => (
          // A new head is a new piece to look at.
          <EvidenceRow key={`${piece.evidence_id} ${piece.sha256 ?? ""}`} incidentId={id} piece={piece} />
        ))}
      </ul>
      <label className="button wide file-button">
        Add a file
        <input
          type="file"
          className="sr-only"
          disabled={isBusy}
          onChange={(event) => {
            const file = event.currentTarget.files?.[0];
            event.currentTarget.value = "";
            if (file) run(work.addEvidence(id, file).then(() => work.evidence(id)).then(setPieces));
          }}
          data-testid="evidence-file"
        />
      </label>
      <p className="form-problem" role="alert">
        {problem}
      </p>
    </section>
  );
}

function EvidenceRow({ incidentId, piece }: { readonly incidentId: string; readonly piece: Evidence }) {
  const { work } = useDesk();
  const { isBusy, problem, run } = useTask();
  const [read, setRead] = useState<Read | null>(null);
  const verdict = read?.verdict ?? null;
  const url = read?.url;
  useEffect(() => () => (url === undefined ? undefined : URL.revokeObjectURL(url)), [url]);
  return (
    <li className="evidence" data-testid="evidence-piece" data-chain={verdict === null ? "unchecked" : verdict.isWhole ? "whole" : "broken"} data-complete={piece.is_complete}>
      <p className="incident-line">
        <strong className="grow clip">{piece.media_type}</strong>
        <span className="num">{sizeWords(piece.bytes)}</span>
      </p>
      <p className="faint small">
        {piece.uploaded_by}, <Age at={piece.created_at} />, {piece.chunks} {piece.chunks === 1 ? "chunk" : "chunks"}
        {piece.is_complete ? "" : ", still coming or cut off"}
      </p>
      <p className="faint small clip" title={piece.sha256 ?? ""}>
        SHA-256 {piece.sha256 ?? "none"}
      </p>
      {verdict ? <StateTag look={chainLook(verdict)} /> : null}
      {url !== undefined ? (
        <Media url={url} piece={piece} />
      ) : (
        <button type="button" className="button" disabled={isBusy || piece.chunks === 0} onClick={() => run(work.readEvidence(incidentId, piece).then((found) => setRead(readOf(found))))} data-testid="evidence-open">
          {isBusy ? "Reading every chunk…" : "Check and open"}
        </button>
      )}
      <p className="form-problem" role="alert">
        {problem}
      </p>
    </li>
  );
}

function chainLook(verdict: ChainVerdict): Look {
  return verdict.isWhole ? { label: "Chain whole", shape: "check", colour: "--free" } : { label: `Chain BROKEN: ${verdict.why}`, shape: "cross", colour: "--offered" };
}

/** What a look found, and where the bytes are if they are the right ones. */
interface Read {
  readonly verdict: ChainVerdict;
  readonly url?: string;
}

function readOf(verdict: ChainVerdict): Read {
  return verdict.isWhole ? { verdict, url: URL.createObjectURL(verdict.data) } : { verdict };
}

function Media({ url, piece }: { readonly url: string; readonly piece: Evidence }) {
  const kind = piece.media_type.split("/")[0];
  return (
    <>
      {kind === "image" && <img className="evidence-media" src={url} alt={`Picture added by ${piece.uploaded_by}`} />}
      {/* Nobody has written captions for what a phone recorded. */}
      {kind === "audio" && <audio className="evidence-media" controls src={url} aria-label="Recording" />}
      {kind === "video" && <video className="evidence-media" controls src={url} aria-label="Recording" />}
      <a className="button" href={url} download={`${piece.evidence_id}.${extensionOf(piece.media_type)}`} data-testid="evidence-download">
        Download
      </a>
    </>
  );
}

function extensionOf(mediaType: string): string {
  const subtype = mediaType.split("/")[1]?.replace(/^x-|\+.*$/g, "");
  return subtype === undefined || subtype === "octet-stream" ? "bin" : subtype;
}

function sizeWords(bytes: number): string {
  if (bytes < 1_000) return `${bytes} B`;
  return bytes < 1_000_000 ? `${(bytes / 1_000).toFixed(1)} kB` : `${(bytes / 1_000_000).toFixed(1)} MB`;
}
