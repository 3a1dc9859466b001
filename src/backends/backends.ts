import { iptables } from "./iptables/iptables.ts";
import { nftables } from "./nftables/nftables.ts";

/** All backends, preferred ones first. A new backend is a folder and one entry here. */
export const BACKENDS = [nftables, iptables] as const;

export type BackendName = (typeof BACKENDS)[number]["name"];
