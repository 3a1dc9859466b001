import { describe, expect, test } from "bun:test";
import { meantKey } from "../../src/config/key-names.ts";

/** Words with the same meaning as a key, and misspelt keys. */
const MEANT: Readonly<Record<string, string>> = {
  nonMasqueradeCIDRs:
    "nonMasqueradeCIDR nonMasquaradeCIDRs monMasqueradeCIDRs noMasqueradeCIDRs nonmasqueradecidr nonMasqCIDRs nonMasqueradeDestinations noMasqCIDRs nonMasqueradedRanges excludeCIDRs excludedCIDRs excludeSnatCidrs snatExclude SNATExcludeCIDRs exemptCIDRs keepCIDRs bypassCIDRs non-masquerade-cidrs non_masquerade_cidrs skipMasqueradeCIDRs doNotMasquerade unmasqueradedCIDRs noNatCIDRs ignoreSubnets",
  masqueradeCIDRs:
    "forceMasqueradeCIDRs alwaysMasqueradeCIDRs masqueradeOnlyCIDRs masqueradeCIDR masqCIDRs maskqueradeCIDRs snatCIDRs natCIDRs includeMasqueradeCIDRs masquerade force-masquerade-cidrs",
  sourceCIDRs: "sourceCIDR sources sourceRanges srcCIDRs podSourceCIDRs masqueradeSourceCIDRs sourcCIDRs",
  nonMasqueradeSourceCIDRs:
    "nonMasqueradeSrcCIDR excludeSources noMasqSrcCIDRs nonMasqueradeSources exemptSourceCIDRs nonMasqueradeSourceCIDR",
  outputInterfaces:
    "interfaces outInterfaces interface outputInterface outIface masqInterface devices outgoingInterfaces nic",
  resyncInterval:
    "interval syncInterval resyncPeriod reSyncIntervall syncPeriod refreshInterval resync-interval",
  cidrLimit: "limit maxCIDRs cidrsLimit CIDRLimits maximumEntries",
  masqLinkLocal: "masqueradeLinkLocal linkLocal masqLinkLocl masq-link-local",
  masqLinkLocalIPv6: "masqueradeLinkLocalIPv6 linkLocalIPv6 masqLinkLocalV6",
  nonMasqueradeMarks: "nonMasqueradeMark noMasqMarks excludeMarks skipMarks nonMasqueradeFwmark keepMark",
  snatAddresses: "snatAddress snatIPs egressIP nodeAddress nodeIPs snatAddreses",
  enforceNonMasquerade: "enforceNonMasq enforcedNonMasquerade enforceKept",
  foreignMasqueradeMarks: "foreignMarks masqueradeBit masqueradeMark kubeProxyMark iptablesMasqueradeBit",
  dropLeaks: "leaks dropLeak dropleak dropLeakedPackets",
  enableIPv6: "ipv6 ipv6Enabled enableIP6 useIPv6 enable-ipv6 dualStack",
};

describe.each(Object.entries(MEANT))("%s is suggested", (key, words) => {
  test.each(words.split(" "))("for %s", word => {
    expect<string | undefined>(meantKey(word)).toBe(key);
  });
});

test.each([
  "noMasqLinkLocal",
  "disableLinkLocal",
  "excludeInterfaces",
  "inputInterfaces",
  "disableIPv6",
  "pods",
  "x-base",
  "namespace",
  "apiVersion",
  "ipv6CIDRs",
])("nothing is suggested for %s", word => {
  expect(meantKey(word)).toBeUndefined();
});

/** The opposite of the intended key would be the worst suggestion. */
test("the suggestion never has the opposite meaning", () => {
  const no = [
    "non",
    "no",
    "not",
    "dont",
    "never",
    "exclude",
    "excluded",
    "except",
    "exempt",
    "skip",
    "ignore",
  ];
  const yes = ["", "force", "always", "only", "do", "must", "include", "want"];
  const middles = ["Masquerade", "Masq", "Snat", "MasqueradeSource", "MasqueradeSrc", "Source"];
  const ends = ["CIDRs", "CIDR", "Cidrs", "Ranges", "List", "s"];
  const word = (parts: string[]) => parts.join("").replace(/^./, it => it.toLowerCase());
  for (const middle of middles) {
    for (const end of ends) {
      for (const start of no) expect(`${meantKey(word([start, middle, end]))}`).toStartWith("nonMasquerade");
      for (const start of yes) expect(`${meantKey(word([start, middle, end]))}`).not.toStartWith("non");
    }
  }
});
