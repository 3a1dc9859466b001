/** The name of our table, in each family. */
export const TABLE = "ip-masq-agent";

/** The beginning of the comments of all rules that ip-masq-agent and ipmasq write. */
export const COMMENT = "ip-masq-agent: ";

/**
 * Whether a comment is, word for word, one of ours, of an ip-masq-agent, or of the chain that GKE's node start-up script
 * makes. A comment that only begins like these makes nothing ours.
 */
export function isOurComment(comment = ""): boolean {
  return OURS.test(comment);
}

/** What ip-masq-agent's comments say, and ours do not. */
const INCUMBENT = " subject to MASQUERADE";

/** The beginning may be a double quote: ip-masq-agent puts the comment of its jump into quotes, which become part of it. */
const OURS = new RegExp(
  `^"?ip-masq(-agent)?: (${[
    "ensure nat POSTROUTING directs .*",
    `(\\S+ )*(is not|is|should not be|should be)${INCUMBENT}.*`,
    "(exceptions from )?cluster-local traffic",
    "outbound traffic( from ports [\\d-]+)?",
    "sources and interfaces that are masqueraded",
    "non-masquerade sources",
    "sources and interfaces that are kept",
    "packets that others masquerade by their mark",
    "(multicast|broadcast|traffic under an IPsec policy) is never masqueraded",
  ].join("|")})"?$`,
);

/** Whether a rule with this comment exempts traffic that is never masqueraded. Such rules count for no verdict. */
export function isExemption(comment = ""): boolean {
  return comment.endsWith(" is never masqueraded");
}

/** Whether the text of a rule has a comment of ip-masq-agent's, in place of ours. */
export function isIncumbentText(rule: string): boolean {
  return hasComment(rule) && rule.includes(INCUMBENT);
}

/** Whether the text of a rule has a comment of ipmasq's. */
export function isOwnText(rule: string): boolean {
  return hasComment(rule) && !rule.includes(INCUMBENT);
}

function hasComment(rule: string): boolean {
  return rule.includes(`comment "${COMMENT}`);
}
