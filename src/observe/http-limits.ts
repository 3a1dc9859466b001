import { openFilesLimit } from "./process-metrics.ts";

/** Limits for all clients together. Times are in milliseconds. */
export interface HttpLimits {
  /**
   * Open connections. A new connection beyond the limit closes the oldest connection of the client with the most
   * connections.
   */
  readonly connections: number;
  /** Time from the start of a connection to the end of its request. */
  readonly requestTimeout: number;
  /** Time from the end of the request until the client has read the response and closed. */
  readonly responseTimeout: number;
  /** Bytes of responses in the kernel's send buffers, estimated. Small responses do not count. */
  readonly sendBytes: number;
  /** How long a client that reads nothing keeps its share of these bytes while another client waits. */
  readonly stallTimeout: number;
}

export function defaultLimits(): HttpLimits {
  return {
    connections: connectionLimit(),
    requestTimeout: 5000,
    responseTimeout: 10_000,
    sendBytes: 8 * 1024 * 1024,
    stallTimeout: 250,
  };
}

/**
 * A sixteenth of the process's file descriptors. For a short time there may be eight times as many connections; the
 * other half of the descriptors is for the programs that write rules.
 */
function connectionLimit(): number {
  return Math.max(Math.min(256, Math.floor(openFilesLimit() / 16)), 4);
}
