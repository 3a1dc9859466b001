/** The groups of the address that was parsed last. They are reused, since lists may have 100,000 addresses. */
const groups = new Uint16Array(8);
/** The same in the byte order of the network. */
const bytes = new DataView(new ArrayBuffer(16));

/**
 * Parses an IPv6 address in canonical text (RFC 5952) without a dotted part. Creates few objects: the garbage of a
 * general parser takes as much memory as a list of 45,000 CIDRs.
 *
 * @param end the offset of the first character after the address
 * @returns the address as a number; undefined for any other text
 */
export function parseCanonicalIPv6(text: string, end: number): bigint | undefined {
  let count = 0;
  let gap = -1;
  let i = 0;
  if (text.startsWith("::")) {
    gap = 0;
    i = 2;
  }
  while (i < end) {
    let group = 0;
    let digits = 0;
    for (let digit = hexAt(text, i); digit >= 0 && i < end; digit = hexAt(text, ++i)) {
      if (digits > 0 && group === 0) return undefined;
      group = group * 16 + digit;
      digits++;
    }
    if (digits === 0 || digits > 4 || count === 8) return undefined;
    groups[count++] = group;
    if (i === end) break;
    if (text.charCodeAt(i++) !== COLON || i === end) return undefined;
    if (text.charCodeAt(i) !== COLON) continue;
    if (gap >= 0) return undefined;
    gap = count;
    i++;
  }
  if (gap < 0 ? count < 8 : count > 6) return undefined;
  if (gap >= 0) {
    groups.copyWithin(gap + 8 - count, gap, count);
    groups.fill(0, gap, gap + 8 - count);
  }
  if (gap !== longestZeros() || (gap >= 0 && groups[gap + 8 - count] === 0)) return undefined;
  for (let i = 0; i < 8; i++) bytes.setUint16(2 * i, groups[i] ?? 0);
  return (bytes.getBigUint64(0) << 64n) | bytes.getBigUint64(8);
}

/** The index of the first of the longest runs of at least two zero groups; -1 without one. */
function longestZeros(): number {
  let longest = 1;
  let found = -1;
  for (let start = 0, i = 0; i <= 8; i++) {
    if (groups[i] === 0) continue;
    if (i - start > longest) {
      longest = i - start;
      found = start;
    }
    start = i + 1;
  }
  return found;
}

const COLON = ":".charCodeAt(0);
const ZERO = "0".charCodeAt(0);
const A = "a".charCodeAt(0);

/** -1 if the character is not a digit of canonical text. */
function hexAt(text: string, at: number): number {
  const code = text.charCodeAt(at);
  if (code >= ZERO && code <= ZERO + 9) return code - ZERO;
  return code >= A && code < A + 6 ? code - A + 10 : -1;
}
