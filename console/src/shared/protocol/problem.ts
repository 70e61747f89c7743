/** What a server refused and why: `application/problem+json` in REST, `{code, detail}` on sockets. */
export class Problem extends Error {
  constructor(
    /** HTTP status, or 0 when no server answered. */
    readonly status: number,
    /** Stable code of the protocol, `offline` when no server answered. */
    readonly code: string,
    detail: string,
    readonly field?: string,
  ) {
    super(detail);
    this.name = "Problem";
  }

  /** Whether the same request may work at another door or a little later. */
  get isTransient(): boolean {
    return this.status === 0 || this.status === 429 || this.status >= 500;
  }
}

export function offline(detail = "No connection to the server."): Problem {
  return new Problem(0, "offline", detail);
}

/** The sentence to show for anything thrown. */
export function sentenceOf(error: unknown): string {
  return error instanceof Error ? error.message : "Something went wrong.";
}

export async function problemOf(response: Response): Promise<Problem> {
  const body: unknown = await response.json().catch(() => null);
  const record = typeof body === "object" && body !== null ? (body as Record<string, unknown>) : {};
  const text = (key: string): string | undefined => (typeof record[key] === "string" ? record[key] : undefined);
  return new Problem(
    response.status,
    text("code") ?? `http_${response.status}`,
    text("detail") ?? text("title") ?? `The server answered ${response.status}.`,
    text("field"),
  );
}
