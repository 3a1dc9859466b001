/** The values of a policy that the config does not set. */
import { markOf } from "../net/mark.ts";

/** RFC 1918. */
export const PRIVATE = ["10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16"];

/** Ranges that the internet does not use, besides private ones. */
export const OTHER_RESERVED = [
  "100.64.0.0/10", // RFC 6598: between customers and their provider
  "192.0.0.0/24", // RFC 6890: protocol assignments
  "192.0.2.0/24", // RFC 5737: documentation
  "192.88.99.0/24", // RFC 7526: once 6to4 relays
  "198.18.0.0/15", // RFC 6815: benchmarks
  "198.51.100.0/24", // RFC 5737: documentation
  "203.0.113.0/24", // RFC 5737: documentation
  "240.0.0.0/4", // RFC 5735: for future use
];

/** The marks of kube-proxy (hairpin, NodePort) and of the CNI plugin portmap (hostPort), with their default settings. */
export const FOREIGN_MARKS = ["0x4000/0x4000", "0x2000/0x2000"].map(markOf);
