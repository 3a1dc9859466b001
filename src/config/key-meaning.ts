import { closestMatch } from "../system/closest-match.ts";

/**
 * The key that was probably meant by an unknown one: by one or two typos, by meaning, or by a rougher likeness. Never a
 * key of the opposite meaning.
 */
export function meantKey(word: string, keys: readonly string[]): string | undefined {
  const tokens = tokensOf(word);
  const negative = tokens.some(isNegative);
  const close = closeKey(word, keys, tokens);
  if (close !== undefined) return close === "masqLinkLocal" && /6/.test(word) ? `${close}IPv6` : close;
  const meaning = meaningOf(tokens, negative);
  if (meaning !== undefined) return keys.find(key => key === meaning);
  if (MEANINGFUL.test(tokens.join(" "))) return undefined;
  return closestMatch(
    word,
    keys.filter(key => saysNo(key) === negative),
  );
}

/**
 * The key that is one or two typos away, unless one of the opposite meaning is as near: a typo in the first letters may
 * hide a "non".
 */
function closeKey(word: string, keys: readonly string[], tokens: readonly string[]): string | undefined {
  const no = tokens.some(isPositive) ? [] : keys.filter(saysNo);
  const yes = tokens.some(isNegative) ? [] : keys.filter(key => !saysNo(key));
  for (const slips of [1, 2]) {
    const found = [closestMatch(word, no, slips), closestMatch(word, yes, slips)].filter(
      it => it !== undefined,
    );
    if (found.length > 0) return found.length === 1 ? found[0] : undefined;
  }
  return undefined;
}

function saysNo(key: string): boolean {
  return tokensOf(key).some(isNegative);
}

/** `forceMasqueradeCIDRs` is force, masquerade, cidrs. */
function tokensOf(word: string): string[] {
  return word
    .replace(/([a-z\d])([A-Z])|([A-Z])(?=[A-Z][a-z]{2})/g, "$1$3 $2")
    .toLowerCase()
    .split(/[^a-z\d]+/)
    .filter(Boolean);
}

function isNegative(token: string): boolean {
  return (
    /^(non|no|not|dont|never|without|skip(ped)?|un)$/.test(token) ||
    /^(exclu[ds]|except|exempt|ignore|bypass|keep|kept|preserv|omit|disable)/.test(token) ||
    /^(non?|un|dis|skip)(masq|snat|nat)/.test(token)
  );
}

function isPositive(token: string): boolean {
  return /^(do|force[ds]?|always|only|must|include[ds]?|want(ed)?)$/.test(token);
}

/** Subjects that keys have. */
const MEANINGFUL = /masq|snat|link ?local|source|src|interface|iface|device|nic\b|cidr|subnet|interval|ipv6/;

/** Undefined if the meaning is unknown; an empty string if no key has that meaning. */
function meaningOf(tokens: readonly string[], negative: boolean): string | undefined {
  const word = tokens.join(" ");
  if (/link ?local/.test(word)) {
    if (negative) return "";
    return /6/.test(word) ? "masqLinkLocalIPv6" : "masqLinkLocal";
  }
  if (/interface|iface|device|\bnics?\b/.test(word)) {
    return negative || /\b(in|input|ingress|incoming)\b/.test(word) ? "" : "outputInterfaces";
  }
  if (/interval|period|resync|refresh/.test(word)) return "resyncInterval";
  if (/limit|\bmax/.test(word)) return "cidrLimit";
  if (/source|\bsrc/.test(word)) return negative ? "nonMasqueradeSourceCIDRs" : "sourceCIDRs";
  if (/ipv6|dual ?stack/.test(word)) return negative || /cidr|subnet/.test(word) ? "" : "enableIPv6";
  if (/masq|\bs?nat/.test(word)) return negative ? "nonMasqueradeCIDRs" : "masqueradeCIDRs";
  if (negative && /cidr|subnet|range|net|destination|\bdst|ips?\b/.test(word)) return "nonMasqueradeCIDRs";
  return undefined;
}
