import { Lab } from "../../../../lab/lab.ts";
import { WRITERS } from "../../../../lab/writers.ts";
import { CONTROLS, type Control, tryControl } from "../../../kernel/controls.ts";
import { changes, cleanup, installs, RATE, repairs, switches } from "./binary.ts";
import { type Finding, inWords } from "./finding.ts";
import { ipsec } from "./ipsec.ts";
import { suite } from "./suite.ts";

export interface Check {
  readonly name: string;
  run(): Promise<Finding>;
}

/** The checks on each kernel, in this order. */
export const CHECKS: readonly Check[] = [
  ...WRITERS.map(writer => ({ name: `first install, ${writer.name}`, run: () => installs(writer) })),
  ...WRITERS.map(writer => ({ name: `config change, ${writer.name}`, run: () => changes(writer) })),
  ...WRITERS.map(writer => ({ name: `repair, ${writer.name}`, run: () => repairs(writer) })),
  ...WRITERS.map(({ name }) => ({ name: `kill -9, ${name}`, run: () => kills(name) })),
  { name: "backend change", run: switches },
  { name: "cleanup", run: cleanup },
  ...WRITERS.map(({ name }) => ({ name: `packets by policy, ${name}`, run: () => packets(name) })),
  ...WRITERS.map(({ name }) => ({ name: `enforceNonMasquerade, ${name}`, run: () => enforced(name) })),
  ...WRITERS.map(it => ({ name: `packets under an IPsec policy, ${it.name}`, run: () => ipsec(it) })),
  ...Object.values(CONTROLS).map(it => ({ name: `control: ${it.title}`, run: () => control(it) })),
];

/** The part of `test/kernel/packets.test.ts` that fits the time: each config key, both families, and port ranges. */
const PACKETS = [
  "the defaults$",
  "masqueradeCIDRs, which beat non",
  "sourceCIDRs$",
  "outputInterfaces, several",
  "all keys",
  "source ports of ip are evenly spread .*=true",
];

const KILLS = 6;

function kills(writer: string): Promise<Finding> {
  const inWords = () => `passes, ${KILLS} kills`;
  return suite("./test/kernel/kill.test.ts", `${writer}$`, inWords, 1, { KILLS: `${KILLS}` });
}

function packets(writer: string): Promise<Finding> {
  const backend = writer === "nftables" ? "nftables by nft" : `iptables by ${writer}`;
  const pattern = `^${backend} of this machine (${PACKETS.join("|")})`;
  return suite(
    "./test/kernel/packets.test.ts",
    pattern,
    tests => `passes, ${tests} policies`,
    PACKETS.length,
  );
}

/** Packets beside rules that masquerade, and Services. */
function enforced(writer: string): Promise<Finding> {
  const pattern = `^${writer} (kept connections stay kept|Services of kube-proxy)`;
  return suite("./test/kernel/enforce.test.ts", pattern, tests => `passes, ${tests} rulesets`, 5);
}

/** A control without wrong verdicts does not fail, but makes ipmasq's results less significant. */
async function control(it: Control): Promise<Finding> {
  await using lab = await Lab.create();
  const changes = 60;
  const { flows, wrong } = await tryControl(lab, it, { changes, flowsPerSecond: RATE });
  const remark = wrong === 0 ? ": no errors here" : "";
  return {
    ok: flows > 0,
    cell: `${inWords(wrong, flows, `${changes} changes`)}${remark}`,
    raw: { flows, wrong },
  };
}
