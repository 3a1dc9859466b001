import { ipVersion } from "./ip-version.ts";
import type { ParseFailure } from "./parse-failure.ts";

/** The address and port of a server. */
export interface Listen {
  /** The address; empty for all addresses of the machine. */
  readonly address: string;
  readonly port: number;
}

/** Parses `127.0.0.1:9469`, `[::1]:9469`, or `:9469` for all addresses. An empty text means "nowhere". */
export function parseListen(text: string): Listen | "nowhere" | ParseFailure {
  if (text === "") return "nowhere";
  const [, six, four = "", digits] = /^(?:\[([^\]]+)\]|([^:[]*)):(\d{1,5})$/.exec(text) ?? [];
  const address = six ?? four;
  const known = address === "" || ipVersion(address) === (six === undefined ? 4 : 6);
  if (digits === undefined || Number(digits) > 65535 || !known) {
    return {
      what: `"${text}" is not an address and port`,
      remedy: 'write, for example, "127.0.0.1:9469", "[::1]:9469" or ":9469"',
    };
  }
  return { address, port: Number(digits) };
}

/** The text that {@link parseListen} reads. */
export function formatListen({ address, port }: Listen): string {
  return `${ipVersion(address) === 6 ? `[${address}]` : address}:${port}`;
}
