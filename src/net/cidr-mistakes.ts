import { ipVersion } from "./ip-version.ts";
import type { ParseFailure } from "./parse-failure.ts";

/** The error for a text that is a common mistake instead of a CIDR; undefined for other texts. */
export function commonMistake(text: string): ParseFailure | undefined {
  const [, first = "", last = ""] = /^([^-\s]+)\s*-\s*([^-\s]+)$/.exec(text) ?? [];
  if (ipVersion(first) !== 0 && ipVersion(first) === ipVersion(last)) {
    return { what: `"${text}" is an address range`, remedy: "write it as CIDRs" };
  }
  // In YAML, an entry with more indentation than the previous one continues it: "A - B".
  const parts = text.split(/[\s,;]+(?:-\s+)?/).filter(Boolean);
  if (parts.length > 1 && parts.every(it => ipVersion(it.replace(/\/.*/, "")))) {
    const count = parts.length === 2 ? "two CIDRs" : `${parts.length} CIDRs`;
    return { what: `"${text}" is ${count} in one entry`, remedy: "write each as a separate entry" };
  }
  if (/\$[{(\w]|<%|\{%/.test(text)) {
    return { what: `"${text}" contains an unexpanded variable`, remedy: "write the CIDR" };
  }
  const [, address = "", mask = ""] = /^([\d.]+)\/([\d.]+\.[\d.]+)$/.exec(text) ?? [];
  const prefix = prefixOf(mask);
  if (ipVersion(address) === 4 && prefix !== undefined) {
    return {
      what: `"${text}" has a netmask instead of a prefix length`,
      remedy: `did you mean "${address}/${prefix}"?`,
    };
  }
  return undefined;
}

/** The prefix length of a netmask such as 255.255.0.0. */
function prefixOf(mask: string): number | undefined {
  if (ipVersion(mask) !== 4) return undefined;
  const bits = mask
    .split(".")
    .map(octet => Number(octet).toString(2).padStart(8, "0"))
    .join("");
  return /^1*0*$/.test(bits) ? bits.replaceAll("0", "").length : undefined;
}
