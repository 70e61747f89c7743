import { newId } from "./ids";
import { offline, problemOf, Problem } from "./problem";

/** Where access tokens come from: the session. */
export interface TokenSource {
  /** A token that is valid now, refreshed first when it is about to expire; null when signed out. */
  freshToken(): Promise<string | null>;
  /** The server refused `token`: refresh once, and answer the new one, or null when the session is over. */
  replaceToken(token: string): Promise<string | null>;
}

const REQUEST_TIMEOUT_MS = 10_000;

type Method = "GET" | "POST" | "PUT" | "DELETE";

export interface RequestOptions {
  readonly body?: unknown;
  /** Chosen by the caller where a retry must not do the thing twice; otherwise every POST gets a new one. */
  readonly idempotencyKey?: string;
  readonly timeoutMs?: number;
}

/** One HTTP request of the protocol. Throws `Problem`, also when nobody answers. */
export async function send<T>(url: string, method: Method, token: string | null, options: RequestOptions = {}): Promise<T> {
  const response = await ask(url, method, token, options);
  if (response.status === 204) return undefined as T;
  return (await response.json()) as T;
}

async function ask(url: string, method: Method, token: string | null, options: RequestOptions): Promise<Response> {
  const headers = new Headers({ Accept: "application/json" });
  if (token) headers.set("Authorization", `Bearer ${token}`);
  if (method === "POST") headers.set("Idempotency-Key", options.idempotencyKey ?? newId());
  if (options.body !== undefined) headers.set("Content-Type", "application/json");
  const response = await fetch(url, {
    method,
    headers,
    body: options.body === undefined ? null : JSON.stringify(options.body),
    signal: AbortSignal.timeout(options.timeoutMs ?? REQUEST_TIMEOUT_MS),
    cache: "no-store",
  }).catch(() => {
    throw offline();
  });
  if (!response.ok) throw await problemOf(response);
  return response;
}

/** Authorised requests: one refresh and one retry on 401, never more. */
export class Rest {
  constructor(
    private readonly baseUrl: string,
    private readonly tokens: TokenSource,
  ) {}

  get<T>(path: string): Promise<T> {
    return this.request<T>("GET", path);
  }

  post<T>(path: string, body: unknown = {}, options: Omit<RequestOptions, "body"> = {}): Promise<T> {
    return this.request<T>("POST", path, { ...options, body });
  }

  put<T>(path: string, body: unknown): Promise<T> {
    return this.request<T>("PUT", path, { body });
  }

  delete(path: string): Promise<undefined> {
    return this.request<undefined>("DELETE", path);
  }

  /** What is not JSON: reports as pages, the bytes of evidence. */
  async bytes(path: string): Promise<Blob> {
    return this.authorised((token) => ask(`${this.baseUrl}${path}`, "GET", token, {}).then((response) => response.blob()));
  }

  private async request<T>(method: Method, path: string, options: RequestOptions = {}): Promise<T> {
    // The key is chosen here so that a retry after a refresh is the same request to the server.
    const once = { ...options, idempotencyKey: options.idempotencyKey ?? newId() };
    return this.authorised((token) => send<T>(`${this.baseUrl}${path}`, method, token, once));
  }

  private async authorised<T>(request: (token: string) => Promise<T>): Promise<T> {
    const token = await this.tokens.freshToken();
    if (token === null) throw new Problem(401, "not_signed_in", "Sign in first.");
    try {
      return await request(token);
    } catch (error) {
      if (!(error instanceof Problem) || error.status !== 401) throw error;
      const replacement = await this.tokens.replaceToken(token);
      if (replacement === null) throw error;
      return request(replacement);
    }
  }
}
