import { afterEach, describe, expect, test } from "bun:test";
import { driftOf } from "../../src/agent/repairs.ts";
import { NftablesBackend } from "../../src/backends/nftables/backend.ts";
import { sync } from "../../src/backends/sync.ts";
import { labPerFile } from "../lab.ts";
import { policy } from "../policies.ts";
import { describeTools } from "./backends-under-test.ts";
import { STATES } from "./foreign-rules.ts";

const KEPT = "10.1.2.3";
const OUTBOUND = "203.0.113.7";

const lab = labPerFile();
afterEach(() => lab.node.output(["nft", "flush", "ruleset"]));

const owner = (to: string) => lab.ownerSeen({ protocol: "udp", to });
const nft = (commands: string) => lab.node.output(["nft", "-f", "-"], { input: commands });
const list = () => lab.node.output(["nft", "list", "ruleset"]);

/** Rules without counters and set generations, independent of the order of elements and chains. */
const normal = (text: string) =>
  text
    .replaceAll(/\spackets \d+ bytes \d+/g, "")
    .replaceAll(/(masquerade)-[a-z]\b/g, "$1")
    .split(/[\n,]/)
    .map(line => line.replace("elements = {", "").replace(/ }$/, "").trim())
    .filter(line => line !== "")
    .sort();

const meant = policy({ keep: ["10.0.0.0/8", "192.0.2.0/24"], masquerade: ["10.96.0.0/12"] });

const tests = (backend: () => NftablesBackend) => {
  test.each(STATES)("%s", async (_what, commands) => {
    await sync(backend(), meant);
    const clean = normal(await list());
    const load = await lab.load({ destinations: [KEPT, OUTBOUND], flowsPerSecond: 2000 });
    await nft(commands);
    const before = await load.tally();
    await sync(backend(), meant);
    const [kept, outbound] = await load.stop();
    // Verdicts may be wrong until the repair of another program's change, but not longer.
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

describe("ipmasq's table is repaired from any state by nft of this machine", () =>
  tests(() => new NftablesBackend(lab.node.command(["nft"]))));
describeTools("our table in any state is brought in order by nft of trixie", ["trixie"], tools => {
  for (const it of tools) tests(() => new NftablesBackend(lab.node.command(it.nft)));
});

test("a set that no rule refers to is removed, and is not drift", async () => {
  const backend = new NftablesBackend(lab.node.command(["nft"]));
  await sync(backend, meant);
  const clean = normal(await list());
  await nft(
    "add set ip ip-masq-agent non-masquerade-b { typeof ip daddr; flags interval; counter; elements = { 0.0.0.0/1 }; }",
  );
  expect((await sync(backend, meant)).before.inSync).toBe(true);
  expect(normal(await list())).toEqual(clean);
});

test("a repair of the rules keeps the sets that other programs left", async () => {
  const backend = new NftablesBackend(lab.node.command(["nft"]));
  await sync(backend, meant);
  const clean = normal(await list());
  const sets = () => lab.node.output(["nft", "--handle", "list", "sets"]);
  const written = await sets();
  await nft("flush chain ip ip-masq-agent IP-MASQ-AGENT");
  const { before } = await sync(backend, meant);
  expect(driftOf(before)).toMatchObject({
    added: 3,
    removed: 0,
    firstAdded: expect.stringContaining("goto"),
  });
  expect([await sets(), normal(await list())]).toEqual([written, clean]);
});

test("the next sync finishes an interrupted replacement", async () => {
  const backend = new NftablesBackend(lab.node.command(["nft"]));
  await sync(backend, meant);
  const text = await lab.node.output(["nft", "list", "table", "ip", "ip-masq-agent"]);
  await nft(`delete table ip ip-masq-agent\n${text.replaceAll("ip-masq-agent {", "ip-masq-agent-next {")}`);
  expect([await owner(KEPT), await owner(OUTBOUND)]).toEqual(["pod", "node"]);
  await sync(backend, policy({ keep: ["203.0.113.0/24"] }));
  expect([await owner(KEPT), await owner(OUTBOUND)]).toEqual(["node", "pod"]);
  expect(await list()).not.toContain("ip-masq-agent-next");
});
