import { parseCidr } from "cidr-tools";
import { ipVersion } from "./ip-version.ts";
import type { ParseFailure } from "./parse-failure.ts";

/** The error for a text that is a common mistake instead of a CIDR; undefined for other texts. */
export function commonMistake(text: string): ParseFailure | undefined {
  const [, first = "", last = ""] = /^([^-\s]+)\s*-\s*([^-\s]+)$/.exec(text) ?? [];
  if (ipVersion(first) !== 0 && ipVersion(first) === ipVersion(last)) {
    const cidr = ofRange(first, last);
    const remedy = cidr === undefined ? "write it as CIDRs" : `did you mean "${cidr}"?`;
    return { what: `"${text}" is an address range`, remedy };
  }
  const [, fixed = "", stars = ""] = /^(\d{1,3}(?:\.\d{1,3}){0,2})((?:\.\*){1,3})$/.exec(text) ?? [];
  const wildcard = `${fixed}${stars.replaceAll("*", "0")}`;
  if (ipVersion(wildcard) === 4) {
    const remedy = `did you mean "${wildcard}/${8 * fixed.split(".").length}"?`;
    return { what: `"${text}" has a wildcard`, remedy };
  }
  const parts = text.split(/[\s,;]+(?:-\s+)?/).filter(Boolean);
  if (parts.length > 1 && parts.every(it => ipVersion(it.replace(/\/.*/, "")))) {
    const count = parts.length === 2 ? "two CIDRs" : `${parts.length} CIDRs`;
    // In YAML, an entry with more indentation than the previous one continues it: "A - B".
    const remedy = / - /.test(text)
      ? 'start a new line for each, with all "-" in the same column'
      : "write each as a separate entry";
    return { what: `"${text}" is ${count} in one entry`, remedy };
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

/** The CIDR with exactly these addresses; undefined if there is none. */
function ofRange(first: string, last: string): string | undefined {
  const { start, version } = parseCidr(first);
  const size = parseCidr(last).end - start + 1n;
  if (size < 1n || (size & (size - 1n)) !== 0n || start % size !== 0n) return undefined;
  return `${first}/${(version === 4 ? 32 : 128) - (size.toString(2).length - 1)}`;
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
