/**
 * "Why this worker": what GET /v1/bookings/{id}/why says, read leniently. The terms of a cost and the rules are the
 * matcher's own and grow with it, so they are shown by the names they come with.
 */
export interface CostTerm {
  readonly name: string;
  readonly value: number;
}

interface Weighed {
  readonly key: string;
  readonly slot: number | null;
  readonly name: string | null;
  readonly distanceM: number | null;
  readonly etaS: number | null;
  /** What would have had to be different; null for the first. */
  readonly needed: string | null;
}

export interface Candidate extends Weighed {
  readonly cost: number;
  /** State of the offer that this decision sent; null: not asked. */
  readonly answer: string | null;
  readonly terms: readonly CostTerm[];
  /** The terms that made the candidate dearer than the first, the largest first. */
  readonly against: readonly CostTerm[];
}

export interface NearLoser extends Weighed {
  readonly rules: readonly string[];
  /** The rank without these rules; null where no place was known. */
  readonly placeWithout: number | null;
}

export interface Decision {
  readonly key: string;
  readonly at: string | null;
  readonly outcome: string;
  readonly reason: string | null;
  readonly tookUs: number | null;
  readonly lookedAt: number | null;
  readonly policy: string | null;
  /** How many other bookings were decided at the same time; null: it was decided by itself. */
  readonly together: number | null;
  readonly isDamaged: boolean;
  readonly candidates: readonly Candidate[];
  readonly nearLosers: readonly NearLoser[];
  readonly ruledOut: readonly { readonly reason: string; readonly count: number }[];
}

type Json = Readonly<Record<string, unknown>>;

export function parseDecisions(body: unknown): Decision[] {
  return list(record(body).items).map((entry, index) => {
    const decision = record(entry);
    const plan = record(decision.plan);
    const bookings = number(plan.bookings);
    return {
      key: text(decision.dispatch_id) ?? String(index),
      at: text(decision.at),
      outcome: text(decision.outcome) ?? "decided",
      reason: text(decision.reason),
      tookUs: number(decision.took_us),
      lookedAt: number(decision.looked_at),
      policy: text(record(decision.policy).label),
      together: plan.mode === "window" && bookings !== null ? bookings - 1 : null,
      isDamaged: decision.record === "damaged",
      candidates: list(decision.ranked).map(candidateOf),
      nearLosers: list(decision.near_losers).map(loserOf),
      ruledOut: Object.entries(record(decision.ruled_out)).flatMap(([reason, count]) =>
        typeof count === "number" && count > 0 ? [{ reason: words(reason), count }] : [],
      ),
    };
  });
}

function candidateOf(entry: unknown, index: number): Candidate {
  const candidate = record(entry);
  return {
    ...weighed(candidate, index),
    cost: number(candidate.cost_min) ?? 0,
    answer: text(candidate.answer),
    terms: termsOf(candidate.terms),
    against: termsOf(candidate.against_first),
  };
}

function loserOf(entry: unknown, index: number): NearLoser {
  const loser = record(entry);
  return {
    ...weighed(loser, index),
    rules: list(loser.rules).flatMap((rule) => (typeof rule === "string" ? [words(rule)] : [])),
    placeWithout: number(loser.place_without_rules),
  };
}

function weighed(entry: Json, index: number): Weighed {
  const slot = number(entry.slot);
  return {
    key: text(entry.worker_id) ?? (slot === null ? String(index) : String(slot)),
    slot,
    name: text(entry.name),
    distanceM: number(entry.distance_m),
    etaS: number(entry.eta_s),
    needed: text(entry.needed),
  };
}

function termsOf(value: unknown): readonly CostTerm[] {
  return Object.entries(record(value)).flatMap(([name, minutes]) =>
    typeof minutes === "number" && minutes !== 0 ? [{ name: words(name), value: minutes }] : [],
  );
}

function words(name: string): string {
  return name.replaceAll("_", " ");
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
