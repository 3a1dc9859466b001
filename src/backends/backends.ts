import { iptables } from "./iptables/iptables.ts";
import { nftables } from "./nftables/nftables.ts";

/** All backends, preferred ones first. A new backend needs a folder and one entry here. */
export const BACKENDS = [nftables, iptables] as const;

export type BackendName = (typeof BACKENDS)[number]["name"];

/** The backend that `--backend` requests; for `auto`, the preferred backend. Asks neither kernel nor programs. */
export function requestedBackend(requested: "auto" | BackendName): (typeof BACKENDS)[number] {
  return BACKENDS.find(({ name }) => name === requested) ?? BACKENDS[0];
}
