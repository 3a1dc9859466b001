import { afterAll, afterEach, beforeAll, expect, test } from "bun:test";
import { BINARY } from "../../lab/agent.ts";
import { Lab } from "../../lab/lab.ts";
import { NftablesBackend } from "../../src/backends/nftables/backend.ts";
import { renderJson } from "../../src/backends/nftables/render.ts";
import { sync } from "../../src/backends/sync.ts";
import { policy } from "../policies.ts";
import { describeTools } from "./candidates.ts";

const one = policy(
  {
    keep: ["10.0.0.0/8", "192.0.2.1/32", "fd00::/8"],
    masquerade: ["10.96.0.0/12"],
    sources: ["10.244.0.0/16", "::/1"],
    interfaces: ["eth0", "eth1*"],
  },
  {
    enableIPv6: true,
    toPorts: [
      { first: 1024, last: 29_999 },
      { first: 32_768, last: 65_535 },
    ],
  },
);
const other = policy({ keep: ["10.0.0.0/8", "2001:db8::/32"] }, { enableIPv6: true });

let lab: Lab;
beforeAll(async () => {
  lab = await Lab.create();
});
afterAll(() => lab.close());
afterEach(() => lab.node.output(["nft", "flush", "ruleset"]));

describeTools("nft that is too old", ["bullseye"], ([tooOld]) => {
  const backend = () => new NftablesBackend(lab.node.command(tooOld?.nft ?? []));
  const refusal = "nft: version 0.9.8 is too old; install nft 1.0.2 or later";

  test("is refused, and what another nft wrote is left alone", async () => {
    await expect(sync(backend(), one)).rejects.toThrow(refusal);
    expect(await list()).toBe("");
    await sync(new NftablesBackend(lab.node.command(["nft"])), one);
    const before = await list();
    await expect(sync(backend(), other)).rejects.toThrow(refusal);
    await expect(backend().remove()).rejects.toThrow(refusal);
    expect(await list()).toBe(before);
  });

  test("does not keep iptables from its work", async () => {
    const path = `PATH=${tooOld?.wrapper}:${process.env.PATH}`;
    const ipmasq = (...words: string[]) => lab.node.run(["env", path, BINARY, ...words, "--config=/none"]);
    const chain = () => lab.node.run(["iptables-nft", "-t", "nat", "-S", "IP-MASQ-AGENT"]);
    expect(await ipmasq("run", "--once")).toMatchObject({ exitCode: 0, stdout: "" });
    expect((await chain()).stdout).toContain("-j MASQUERADE --random-fully");
    expect((await ipmasq("status")).stdout).toStartWith("in sync\n");
    expect((await ipmasq("cleanup")).exitCode).toBe(0);
    expect((await chain()).exitCode).toBe(1);
  });
});

describeTools("nft of several versions on one node", ["bullseye", "trixie", "forky"], tools => {
  const all = [{ suite: "this machine", nft: ["nft"] }, ...tools];
  const backends = all.filter(({ suite }) => suite !== "bullseye");
  const readers = backends.flatMap(writer =>
    all
      .filter(it => it !== writer)
      .map(reader => [writer.suite, reader.suite, writer.nft, reader.nft] as const),
  );
  const successors = readers.filter(([, reader]) => reader !== "bullseye");

  test.each(readers)("what that of %s wrote is listed by that of %s", async (_from, _to, writer, reader) => {
    await sync(new NftablesBackend(lab.node.command(writer)), one);
    for (const family of ["ip", "ip6"]) {
      for (const options of [[], ["-j"], ["-a"]]) {
        const table = [...reader, ...options, "list", "table", family, "ip-masq-agent"];
        expect(await lab.node.run(table)).toMatchObject({ exitCode: 0, stderr: "" });
      }
    }
    expect(await lab.node.run([...reader, "list", "ruleset"])).toMatchObject({ exitCode: 0, stderr: "" });
  });

  test.each(successors)(
    "what that of %s wrote is in sync for that of %s",
    async (_from, _to, first, second) => {
      await sync(new NftablesBackend(lab.node.command(first)), one);
      const before = await list();
      expect((await sync(new NftablesBackend(lab.node.command(second)), one)).before.inSync).toBe(true);
      expect(await list()).toBe(before);
    },
  );

  test.each(successors)("that of %s and that of %s take turns", async (_one, _other, first, second) => {
    const turns = [first, second].map(nft => new NftablesBackend(lab.node.command(nft)));
    for (const wanted of [one, other, one]) {
      for (const backend of turns) expect((await sync(backend, wanted)).after.inSync).toBe(true);
      turns.reverse();
    }
  });

  // kubernetes/kubernetes issue 136786. So the tests above would see it if a set were declared by its type.
  test("a set that new nft declares by its type makes old nft crash", async () => {
    const [tooOld, recent] = tools.map(({ nft }) => nft);
    await lab.node.output([...(recent ?? []), "-j", "-f", "-"], { input: renderJson(one) });
    expect((await lab.node.run([...(tooOld ?? []), "list", "ruleset"])).exitCode).toBe(139);
    await new NftablesBackend(lab.node.command(recent ?? [])).remove();
  });
});

test.each([
  policy(),
  one,
  other,
  policy({ file: '/etc/"quoted"', keep: ["10.0.0.0/8"] }),
  policy({ file: `/etc/${"long/".repeat(60)}config`, keep: ["10.0.0.0/8"] }),
])("what nft lists of ours it loads again (%#)", async wanted => {
  const backend = new NftablesBackend(lab.node.command(["nft"]));
  await sync(backend, wanted);
  const listed = await list();
  await backend.remove();
  await lab.node.output(["nft", "-f", "-"], { input: listed });
  expect((await backend.plan(wanted)).inSync).toBe(true);
});

/** All rules on the node, with their handles. */
function list(): Promise<string> {
  return lab.node.output(["nft", "-a", "list", "ruleset"]);
}
