import { afterAll, afterEach, beforeAll, describe, expect, test } from "bun:test";
import { Lab } from "../../lab/lab.ts";
import { NftablesBackend } from "../../src/backends/nftables/backend.ts";
import { sync } from "../../src/backends/sync.ts";
import { policy } from "../policies.ts";
import { describeTools } from "./candidates.ts";

const KEPT = "10.1.2.3";
const OUTBOUND = "203.0.113.7";
const LETTERS = [..."abcdefghijklmnopqrstuvwxyz"];

let lab: Lab;
beforeAll(async () => {
  lab = await Lab.create();
});
afterAll(() => lab.close());
afterEach(() => lab.node.output(["nft", "flush", "ruleset"]));

const owner = (to: string) => lab.ownerSeen({ protocol: "udp", to });
const nft = (commands: string) => lab.node.output(["nft", "-f", "-"], { input: commands });
const list = () => lab.node.output(["nft", "list", "ruleset"]);

/** Rules without counts, the letters of sets, and the order of elements and chains. */
const normal = (text: string) =>
  text
    .replaceAll(/ packets \d+ bytes \d+/g, "")
    .replaceAll(/(masquerade)-[a-z]\b/g, "$1")
    .split(/[\n,]/)
    .map(line => line.replace("elements = {", "").replace(/ }$/, "").trim())
    .filter(line => line !== "")
    .sort();

const meant = policy({ keep: ["10.0.0.0/8", "192.0.2.0/24"], masquerade: ["10.96.0.0/12"] });

/** States of our table that somebody left it in, by the commands that lead there. */
const STATES: readonly (readonly [string, string])[] = [
  [
    "foreign rules that use the spare sets, and a foreign element in the one in use",
    `add set ip ip-masq-agent non-masquerade-b { type ipv4_addr; flags interval; }
     add set ip ip-masq-agent non-masquerade-c { type ipv4_addr; flags interval; }
     add chain ip ip-masq-agent mine
     add rule ip ip-masq-agent mine ip daddr @non-masquerade-b accept
     add rule ip ip-masq-agent mine ip daddr @non-masquerade-c accept
     add element ip ip-masq-agent non-masquerade-a { 198.51.100.0/24 }`,
  ],
  [
    "foreign rules that use a set of every name of ours",
    `add chain ip ip-masq-agent mine
     ${LETTERS.slice(1)
       .map(
         letter => `add set ip ip-masq-agent non-masquerade-${letter} { type ipv4_addr; flags interval; }
     add rule ip ip-masq-agent mine ip daddr @non-masquerade-${letter} accept`,
       )
       .join("\n     ")}
     add element ip ip-masq-agent non-masquerade-a { 198.51.100.0/24 }`,
  ],
  [
    "maps in place of our sets",
    `${LETTERS.slice(1)
      .map(letter => `add map ip ip-masq-agent non-masquerade-${letter} { type ipv4_addr : verdict; }`)
      .join("\n     ")}
     add element ip ip-masq-agent non-masquerade-a { 198.51.100.0/24 }`,
  ],
  ["an empty dormant table", "delete table ip ip-masq-agent; add table ip ip-masq-agent { flags dormant; }"],
  ["a dormant table", "add table ip ip-masq-agent { flags dormant; }"],
  [
    "a foreign base chain that masquerades",
    `add chain ip ip-masq-agent other { type nat hook postrouting priority 90; }
     add rule ip ip-masq-agent other masquerade`,
  ],
  [
    "objects of all kinds, and chains that lead to one another",
    `add counter ip ip-masq-agent c
     add quota ip ip-masq-agent q { over 10 mbytes }
     add limit ip ip-masq-agent l { rate 400/minute; }
     add chain ip ip-masq-agent one
     add chain ip ip-masq-agent two
     add map ip ip-masq-agent m { type ipv4_addr : verdict; }
     add element ip ip-masq-agent m { 198.51.100.1 : jump two }
     add rule ip ip-masq-agent one ip daddr vmap @m
     add rule ip ip-masq-agent two counter name c
     insert rule ip ip-masq-agent IP-MASQ-AGENT jump one`,
  ],
  [
    "a table that was left while ours was replaced",
    "delete table ip ip-masq-agent; add table ip ip-masq-agent-next",
  ],
];

const tests = (backend: () => NftablesBackend) => {
  test.each(STATES)("%s", async (_what, commands) => {
    await sync(backend(), meant);
    const clean = normal(await list());
    const load = await lab.load({ destinations: [KEPT, OUTBOUND], flowsPerSecond: 2000 });
    await nft(commands);
    const before = await load.tally();
    await sync(backend(), meant);
    const [kept, outbound] = await load.stop();
    // What somebody else broke is wrong until it is mended, and not longer.
    const wrong = (kept?.fromNode ?? 0) + (outbound?.fromPod ?? 0);
    const excused = (before[0]?.fromNode ?? 0) + (before[1]?.fromPod ?? 0);
    if (excused === 0 && !/dormant|masquerade/.test(commands)) expect(wrong).toBe(0);
    expect([await owner(KEPT), await owner(OUTBOUND), await owner("10.96.0.1")]).toEqual([
      "pod",
      "node",
      "node",
    ]);
    expect((await sync(backend(), meant)).before.inSync).toBe(true);
    expect(normal(await list())).toEqual(clean);
    await backend().remove();
    expect(await list()).toBe("");
  });
};

describe("our table in any state is brought in order by nft of this machine", () =>
  tests(() => new NftablesBackend(lab.node.command(["nft"]))));
describeTools("our table in any state is brought in order by nft of trixie", ["trixie"], tools => {
  for (const it of tools) tests(() => new NftablesBackend(lab.node.command(it.nft)));
});

test("a replacement that was broken off is finished by the next sync", async () => {
  const backend = new NftablesBackend(lab.node.command(["nft"]));
  await sync(backend, meant);
  const text = await lab.node.output(["nft", "list", "table", "ip", "ip-masq-agent"]);
  await nft(`delete table ip ip-masq-agent\n${text.replaceAll("ip-masq-agent {", "ip-masq-agent-next {")}`);
  expect([await owner(KEPT), await owner(OUTBOUND)]).toEqual(["pod", "node"]);
  await sync(backend, policy({ keep: ["203.0.113.0/24"] }));
  expect([await owner(KEPT), await owner(OUTBOUND)]).toEqual(["node", "pod"]);
  expect(await list()).not.toContain("ip-masq-agent-next");
});
