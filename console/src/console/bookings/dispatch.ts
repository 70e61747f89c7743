/**
 * "Why this worker": what GET /v1/bookings/{id}/dispatch says, read leniently. The terms of a cost are the matcher's
 * own and grow with it, so they are shown by the names they come with.
 */
export interface CostTerm {
  readonly name: string;
  readonly value: number;
}

export interface Candidate {
  readonly key: string;
  /** The decision names workers by slot; who that is the desk knows. */
  readonly slot: number | null;
  readonly cost: number;
  readonly etaS: number | null;
  readonly terms: readonly CostTerm[];
}

export interface Decision {
  readonly key: string;
  readonly at: string | null;
  readonly outcome: string;
  readonly chosenWorkerId: string | null;
  readonly tookUs: number | null;
  readonly lookedAt: number | null;
  readonly candidates: readonly Candidate[];
  readonly ruledOut: readonly { readonly reason: string; readonly count: number }[];
}

type Json = Readonly<Record<string, unknown>>;

export function parseDecisions(body: unknown): Decision[] {
  const root = record(body);
  return list(root.items).map((entry, index) => {
    const decision = record(entry);
    const detail = { ...decision, ...record(decision.detail) };
    return {
      key: text(decision.dispatch_id) ?? String(index),
      at: text(decision.at),
      outcome: text(decision.outcome) ?? "decided",
      chosenWorkerId: text(decision.worker_id),
      tookUs: number(decision.took_us),
      lookedAt: number(detail.looked_at),
      candidates: list(detail.candidates).map(candidateOf),
      ruledOut: Object.entries(record(detail.ruled_out)).flatMap(([reason, count]) =>
        typeof count === "number" && count > 0 ? [{ reason, count }] : [],
      ),
    };
  });
}

function candidateOf(entry: unknown, index: number): Candidate {
  const candidate = record(entry);
  const slot = number(candidate.slot);
  const workerId = text(candidate.worker_id);
  return {
    key: workerId ?? (slot === null ? String(index) : String(slot)),
    slot,
    cost: number(candidate.cost) ?? 0,
    etaS: number(candidate.eta_s),
    terms: Object.entries(record(candidate.terms)).flatMap(([name, value]) =>
      typeof value === "number" ? [{ name: name.replaceAll("_", " "), value }] : [],
    ),
  };
}

function record(value: unknown): Json {
  return typeof value === "object" && value !== null && !Array.isArray(value) ? (value as Json) : {};
}

function list(value: unknown): readonly unknown[] {
  return Array.isArray(value) ? value : [];
}

function text(value: unknown): string | null {
  if (typeof value === "number") return String(value);
  return typeof value === "string" && value !== "" ? value : null;
}

function number(value: unknown): number | null {
  return typeof value === "number" && Number.isFinite(value) ? value : null;
}
