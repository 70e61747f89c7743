import { io, type Socket } from "socket.io-client";

import { offline, Problem } from "./problem";
import type { TokenSource } from "./rest";
import type { Ack } from "./types";

export type LinkState = "connecting" | "live" | "lost";

const COMMAND_TIMEOUT_MS = 6_000;
const REFUSED_RETRY_MS = 1_500;

/**
 * One Socket.IO namespace of the gateway. Every (re)connection carries a fresh token; a token that is refreshed while
 * the connection is open is told by the `token` event, so the server never has to close it.
 */
export class GatewayLink {
  readonly socket: Socket;
  private state: LinkState = "connecting";
  private readonly watchers = new Set<(state: LinkState) => void>();
  private retryTimer: ReturnType<typeof setTimeout> | undefined;
  private isClosed = false;

  constructor(
    gatewayUrl: string,
    namespace: "/worker" | "/customer" | "/console",
    private readonly tokens: TokenSource,
  ) {
    this.socket = io(`${gatewayUrl}${namespace}`, {
      autoConnect: false,
      transports: ["websocket"],
      reconnectionDelay: 400,
      reconnectionDelayMax: 3_000,
      timeout: 5_000,
      auth: (give) => {
        void this.tokens.freshToken().then(
          (token) => give({ token: token ?? "" }),
          () => give({ token: "" }),
        );
      },
    });
    this.socket.on("connect", () => this.become("live"));
    this.socket.on("disconnect", (reason) => {
      this.become("lost");
      // The stock client leaves it to us to come back after the server itself closed the connection.
      if (reason === "io server disconnect") this.retryLater();
    });
    this.socket.on("connect_error", (error) => {
      this.become("lost");
      if (!this.socket.active) void this.recover(error);
    });
  }

  open(): void {
    this.isClosed = false;
    this.socket.connect();
  }

  close(): void {
    this.isClosed = true;
    clearTimeout(this.retryTimer);
    this.socket.disconnect();
  }

  /** Listen to an event; the answer stops it. */
  on(name: string, listener: (body: never) => void): () => void {
    // What a body is the protocol says; the caller names it.
    const untyped = listener as (body: unknown) => void;
    this.socket.on(name, untyped);
    return () => this.socket.off(name, untyped);
  }

  /** Drop a connection that has gone quiet and make a new one. */
  restart(): void {
    if (this.isClosed) return;
    this.socket.disconnect();
    this.become("lost");
    this.socket.connect();
  }

  get linkState(): LinkState {
    return this.state;
  }

  watch(watcher: (state: LinkState) => void): () => void {
    this.watchers.add(watcher);
    watcher(this.state);
    return () => this.watchers.delete(watcher);
  }

  tellToken(token: string): void {
    if (this.socket.connected) this.socket.emit("token", { token });
  }

  /** Send a message that is no event (docs/protocol.md, section 3). False: nothing went out, the link is down. */
  sendFrame(frame: Uint8Array<ArrayBuffer>): boolean {
    if (!this.socket.connected) return false;
    this.socket.io.engine.write(frame.buffer);
    return true;
  }

  /** Emit with an acknowledgement. Throws `Problem`, `offline` when no answer comes in time. */
  async command<T>(name: string, body: unknown, timeoutMs = COMMAND_TIMEOUT_MS): Promise<T> {
    if (!this.socket.connected) throw offline();
    const answer = (await this.socket
      .timeout(timeoutMs)
      .emitWithAck(name, body)
      .catch(() => {
        throw offline("The server did not answer in time.");
      })) as Ack<T>;
    if (answer.ok) return answer.result;
    throw new Problem(400, answer.error.code, answer.error.detail, answer.error.field);
  }

  private async recover(error: Error & { data?: { code?: string } }): Promise<void> {
    if (error.data?.code === "not_signed_in") {
      const refused = await this.tokens.freshToken().catch(() => null);
      if (refused !== null) await this.tokens.replaceToken(refused).catch(() => null);
    }
    this.retryLater();
  }

  private retryLater(): void {
    clearTimeout(this.retryTimer);
    if (this.isClosed) return;
    this.retryTimer = setTimeout(() => this.socket.connect(), REFUSED_RETRY_MS);
  }

  private become(state: LinkState): void {
    this.state = state;
    for (const watcher of this.watchers) watcher(state);
  }
}
