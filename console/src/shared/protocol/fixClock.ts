import type { ServerConfig } from "./types";

/** The time of fixes: the wall's, but faster while a recorded trace is replayed. Ages of positions are told by it. */
export function fixNowMs(config: ServerConfig, wallMs: number): number {
  if (!config.clock) return wallMs;
  return config.clock.epoch_ms + (wallMs - config.clock.epoch_ms) * config.clock.scale;
}
