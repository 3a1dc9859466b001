import { afterAll, afterEach, beforeAll, expect, test } from "bun:test";
import { rename, writeFile } from "node:fs/promises";
import * as v from "valibot";
import { BINARY, RunningAgent } from "../../lab/agent.ts";
import type { Connection, Seen } from "../../lab/connections.ts";
import { Connections, Forgotten, StaleConnection } from "../../src/inspect/connections.ts";
import { PortUse } from "../../src/inspect/port-use.ts";
import { freshFolder, labPerFile } from "../lab.ts";
import { CrashingNft } from "./crashing-nft.ts";

/** lab/isolate mounts an empty /run. */
const FOLDER = "/run/connections";
const CONFIG = `${FOLDER}/ip-masq-agent`;
const KEPT = "10.1.2.3";
const OUTBOUND = "203.0.113.7";
const OUTBOUND_6 = "2001:db8:9::7";

const JUDGED_BY = `ipmasq: judged by the policy of the active agent (${CONFIG})\n`;

const lab = labPerFile();
let agent: RunningAgent;

beforeAll(async () => {
  await freshFolder(FOLDER, { "ip-masq-agent": config("10.0.0.0/8, fc00::/7") });
  // The lab's entries last a second otherwise.
  const timeouts = ["udp_timeout", "udp_timeout_stream", "tcp_timeout_time_wait", "icmp_timeout"];
  await lab.node.output([
    "sysctl",
    "-w",
    ...timeouts.map(it => `net.netfilter.nf_conntrack_${it}=600`),
    "net.netfilter.nf_conntrack_icmpv6_timeout=600",
  ]);
  agent = await RunningAgent.started(lab.node, [`--config=${CONFIG}`, "--listen=127.0.0.1:9469"]);
});
afterAll(async () => {
  await agent.end();
});
afterEach(async () => {
  await lab.node.output(["sh", "-c", "nft delete table ip theirs 2>/dev/null || true"]);
  await lab.node.output(["conntrack", "-F"]);
  await change("10.0.0.0/8, fc00::/7");
});

function config(nonMasquerade: string, more = ""): string {
  return `nonMasqueradeCIDRs: [${nonMasquerade}]\nenableIPv6: true\n${more}`;
}

/** Changes the config of the agent, and returns when its policy is in force. */
async function change(nonMasquerade: string, more = ""): Promise<void> {
  if ((await Bun.file(CONFIG).text()) === config(nonMasquerade, more)) return;
  await writeFile(`${FOLDER}/.new`, config(nonMasquerade, more));
  await rename(`${FOLDER}/.new`, CONFIG);
  await agent.log.until("policy in force");
}

async function lines<Schema extends v.GenericSchema>(
  schema: Schema,
  ...flags: string[]
): Promise<v.InferOutput<Schema>[]> {
  const { stdout, stderr, exitCode } = await lab.node.run([BINARY, "connections", "--output=json", ...flags]);
  const said = flags.some(it => !it.startsWith("--config")) ? JUDGED_BY : ""; // the summary itself says it
  expect({ stderr, exitCode }).toEqual({ stderr: said, exitCode: 0 });
  return stdout
    .split("\n")
    .filter(Boolean)
    .map(line => v.parse(schema, JSON.parse(line)));
}

async function summary(...flags: string[]): Promise<Connections> {
  const [summary] = await lines(Connections, ...flags);
  if (!summary) throw new Error("no summary");
  return summary;
}

type Made = Connection & Seen;

async function make(...connections: readonly Connection[]): Promise<Made[]> {
  return Promise.all(connections.map(async it => ({ ...it, ...(await lab.connect(it)) })));
}

function to(...addresses: string[]): Connection[] {
  return addresses.flatMap(to =>
    (["tcp", "udp", "icmp"] as const).map(protocol => ({ protocol, to, isOpen: protocol === "tcp" })),
  );
}

/** Connections as the server saw them, in a form that sorts. */
function seen(made: readonly Made[]): string[] {
  return made.map(it => `${it.protocol} ${it.to} ${it.source} ${it.port ?? ""}`).sort();
}

async function stale(): Promise<string[]> {
  const all = await lines(StaleConnection, "--stale");
  return all
    .map(({ protocol, destination, seenFrom }) =>
      [protocol.replace("icmpv6", "icmp"), destination.address, seenFrom.address, seenFrom.port ?? ""].join(
        " ",
      ),
    )
    .sort();
}

function tracked(): Promise<string[]> {
  const list = ["ipv4", "ipv6"].map(it => `conntrack -L -f ${it} -o id 2>/dev/null`).join("; ");
  return lab.node.output(["sh", "-c", list]).then(text => (text.match(/\bid=\d+$/gm) ?? []).sort());
}

test("connections from before a change are stale, and only these are forgotten", async () => {
  const before = await make(...to(KEPT, OUTBOUND, OUTBOUND_6));
  expect(await summary()).toMatchObject({
    policyFrom: "agent",
    cidrs: [
      { cidr: "169.254.0.0/16", kept: 0, masqueraded: 0 },
      { cidr: "10.0.0.0/8", kept: 3, masqueraded: 0, node: 0, tcp: 1, udp: 1, other: 1, stale: 0 },
      { family: "ip", verdict: "masquerade", kept: 0, masqueraded: 3 },
      { cidr: "fe80::/10", kept: 0, masqueraded: 0 },
      { cidr: "fc00::/7", kept: 0, masqueraded: 0 },
      { family: "ip6", verdict: "masquerade", kept: 0, masqueraded: 3 },
    ],
    stale: { tcp: 0, udp: 0, other: 0 },
  });
  expect(await stale()).toEqual([]);

  await change("203.0.113.0/24, 2001:db8::/32");
  const said = await agent.log.until("live connections");
  expect(said.at(-1)).toEndWith(
    'live connections contradict the policy connections=9 list="ipmasq connections --stale"',
  );
  expect(await stale()).toEqual(seen(before));
  const others = await make(...to(KEPT, OUTBOUND, OUTBOUND_6));
  expect(await stale()).toEqual(seen(before));
  expect(await summary()).toMatchObject({ stale: { tcp: 3, udp: 3, other: 3 } });

  const [wouldForget] = await lines(Forgotten, "--forget-stale", "--dry-run");
  expect(wouldForget).toEqual({ dryRun: true, tcp: 3, udp: 3, other: 3, ended: 0 });
  const all = await tracked();
  expect(all.length).toBe(before.length + others.length);
  const { stdout } = await lab.node.run([BINARY, "connections", "--forget-stale"]);
  expect(stdout).toStartWith("Deleted 9 conntrack entries (3 TCP, 3 UDP, 3 other).\nTCP connections break:");
  expect(await stale()).toEqual([]);
  const left = await tracked();
  expect(left.filter(it => !all.includes(it))).toEqual([]);
  expect(left.length).toBe(others.length);
});

test("TCP connections that ended are not stale, but their source ports are in use", async () => {
  await make({ protocol: "tcp", to: OUTBOUND }, { protocol: "tcp", to: OUTBOUND, isOpen: true });
  await change("203.0.113.0/24");
  expect(await stale()).toHaveLength(1);
  expect(await summary()).toMatchObject({ stale: { tcp: 1 }, exempt: { ended: 1 } });
  expect(await lines(PortUse, "--ports")).toMatchObject([
    { protocol: "tcp", destination: OUTBOUND, used: 2 },
  ]);
});

test("without stale connections --stale says so", async () => {
  const { stdout, stderr } = await lab.node.run([BINARY, "connections", "--stale"]);
  expect({ stdout, stderr }).toEqual({
    stdout: "No connection is stale.\n",
    stderr: JUDGED_BY,
  });
  expect(await lines(StaleConnection, "--stale")).toEqual([]);
});

test("if foreign rules are not read, stale connections are uncertain, and none is forgotten", async () => {
  await make({ protocol: "udp", to: OUTBOUND });
  await change("203.0.113.0/24");
  const nft = await CrashingNft.create();
  await nft.become("fail");
  const run = (...flags: string[]) => lab.node.run([...nft.environment, BINARY, "connections", ...flags]);
  const doubt =
    "connections may only look stale, because foreign rules were not read: the chains of nftables: nft ";
  const text = await run("--stale");
  expect(text.stdout).toContain(`${OUTBOUND}:8080 is seen from`);
  expect(text.stderr).toStartWith(`${JUDGED_BY}ipmasq: ${doubt}`);
  const json = await run("--stale", "--output=json");
  expect(v.parse(StaleConnection, JSON.parse(json.stdout)).certain).toBeFalse();
  const { unread } = v.parse(Connections, JSON.parse((await run("--output=json")).stdout));
  expect(unread).toHaveLength(1);
  expect((await run()).stdout).toContain(doubt);
  for (const flags of [["--forget-stale"], ["--forget-stale", "--dry-run", "--output=json"]]) {
    const { stdout, stderr, exitCode } = await run(...flags);
    expect({ stdout, exitCode }).toEqual({ stdout: "", exitCode: 1 });
    expect(stderr).toContain(`ipmasq: nothing was deleted: ${doubt}`);
  }
  expect(await tracked()).toHaveLength(1);
});

test("commands judge by the active agent's policy, and say so", async () => {
  await writeFile(`${FOLDER}/other.yaml`, config("203.0.113.0/24, fc00::/7"));
  const run = (...words: string[]) => lab.node.run([BINARY, ...words]);
  const given = [`--config=${FOLDER}/other.yaml`];
  for (const [command, same, differs] of [
    [["verify"], 0, 1],
    [["diff"], 0, 1],
    [["explain", "--live", OUTBOUND], 0, 0],
    [["explain", OUTBOUND], 0, 0],
    [["connections", "--ports"], 0, 0],
  ] as const) {
    const byAgent = await run(...command);
    expect([command, byAgent.exitCode, byAgent.stderr]).toEqual([command, same, JUDGED_BY]);
    const byFile = await run(...command, ...given);
    expect([command, byFile.exitCode, byFile.stderr]).toEqual([command, differs, ""]);
  }
  const withFlag = await run("explain", OUTBOUND, "--enable-ipv6");
  expect(withFlag.stderr).toBe(
    `ipmasq: judged by ${CONFIG}; it is the config of the active agent, with the flags of this command\n`,
  );
  expect((await run("explain", OUTBOUND)).stdout).toContain("masquerade");
  expect((await run("explain", OUTBOUND, ...given)).stdout).toContain("keep");
  expect(await summary(...given)).toMatchObject({ judgedBy: `${FOLDER}/other.yaml, as --config says` });
  const alone = await run("explain", OUTBOUND, "--runtime-dir=/run/none");
  expect(alone.stderr).toBe(
    "ipmasq: judged by the defaults, because /etc/config/ip-masq-agent does not exist; no agent answers in /run/none\n",
  );
});

test("a forgotten UDP connection continues from the new address", async () => {
  const send = async () => {
    await lab.pod.output(["bash", "-c", `exec 3<>/dev/udp/${OUTBOUND}/9; printf x >&3`]);
  };
  await send();
  await change("203.0.113.0/24");
  expect(await stale()).toHaveLength(1);
  await lines(Forgotten, "--forget-stale");
  await send();
  expect(await summary()).toMatchObject({
    cidrs: [{}, { cidr: "203.0.113.0/24", kept: 1, masqueraded: 0 }, {}, {}, {}],
  });
});

test("a Service's connection is judged by its translated destination", async () => {
  const rules = (more = "") => `table ip theirs {
    chain prerouting { type nat hook prerouting priority dstnat; ip daddr 10.96.0.10 dnat to ${OUTBOUND}; }
    ${more}
  }`;
  await lab.node.output(["nft", "-f", "-"], { input: rules() });
  const [service] = await make({ protocol: "udp", to: "10.96.0.10" });
  await change("203.0.113.0/24");
  const [found] = await lines(StaleConnection, "--stale");
  expect(found).toMatchObject({
    destination: { address: "10.96.0.10", port: 8080 },
    translated: { address: OUTBOUND, port: 8080 },
    seenFrom: { address: service?.source },
    verdict: "keep",
    cidr: "203.0.113.0/24",
  });
  // kube-proxy masquerades packets that it marked, which an entry does not show.
  const marked =
    "chain postrouting { type nat hook postrouting priority srcnat; meta mark & 0x4000 == 0x4000 masquerade; }";
  await lab.node.output(["nft", "-f", "-"], { input: `delete table ip theirs\n${rules(marked)}` });
  expect(await summary()).toMatchObject({ stale: { udp: 0 }, undecided: { service: 1 } });
});

test("a foreign rule that masquerades them overrules the policy", async () => {
  await make({ protocol: "udp", to: OUTBOUND });
  await change("203.0.113.0/24");
  await lab.node.output(["nft", "-f", "-"], {
    input:
      "table ip theirs { chain postrouting { type nat hook postrouting priority srcnat; ip daddr 203.0.113.0/24 masquerade; }\n}",
  });
  expect(await summary()).toMatchObject({ stale: { udp: 0 }, overruled: 1 });
  const run = (...words: string[]) => lab.node.run([BINARY, ...words]);
  const note =
    "ipmasq: 1 connection contradicts the policy because of foreign rules, and is not stale; see ipmasq status\n";
  for (const flag of ["--stale", "--forget-stale"])
    expect(await run("connections", flag)).toMatchObject({ exitCode: 0, stderr: `${JUDGED_BY}${note}` });
  expect(await tracked()).toHaveLength(1);
  // The agent looks for foreign rules, but answers within 2 s.
  while (!(await run("status")).stdout.includes("conflicts\n")) await Bun.sleep(10);
  const { stdout, stderr } = await run("explain", OUTBOUND);
  expect(stdout).toContain("keeps its address");
  expect(stderr).toBe(
    `${JUDGED_BY}ipmasq: 1 foreign rule may overrule the policy; --live considers them, and ipmasq status lists them\n`,
  );
});

test("the output interface is that of the routes", async () => {
  await make(...to(OUTBOUND, "192.168.7.7"));
  expect(await summary()).toMatchObject({ cidrs: [{}, {}, { masqueraded: 6 }, {}, {}, {}] });
  await change("10.0.0.0/8", "outputInterfaces: [eth1]\n");
  expect(await stale()).toEqual(expect.arrayContaining([expect.stringMatching(/^udp 192\.168\.7\.7 /)]));
  expect(await summary()).toMatchObject({ stale: { tcp: 1, udp: 1, other: 1 } });
  await lab.node.output(["ip", "route", "add", "192.0.2.0/24", "dev", "eth1", "table", "7"]);
  await lab.node.output(["ip", "rule", "add", "from", "192.0.2.1", "lookup", "7"]);
  await change("10.0.0.0/8", "outputInterfaces: [eth0]\n");
  // Now the policy would keep one connection by eth1, but with more tables the interface is unknown.
  expect(await summary()).toMatchObject({ stale: { tcp: 0, udp: 0, other: 0 } });
  await lab.node.output(["ip", "rule", "del", "from", "192.0.2.1", "lookup", "7"]);
  await lab.node.output(["ip", "route", "flush", "table", "7"]);
});

test("with policy routing, the output interface of IPv6 is unknown", async () => {
  await make({ protocol: "udp", to: OUTBOUND }, { protocol: "udp", to: OUTBOUND_6 });
  await change("10.0.0.0/8", "outputInterfaces: [eth0]\n");
  expect(await summary()).toMatchObject({ stale: { udp: 2 } });
  const rule = ["from", "2001:db8::99", "lookup", "7"];
  await lab.node.output(["ip", "-6", "rule", "add", ...rule]);
  expect(await summary()).toMatchObject({ stale: { udp: 1 } });
  await lab.node.output(["ip", "-6", "rule", "del", ...rule]);
  expect(await summary()).toMatchObject({ stale: { udp: 2 } });
});

test("connections to the node, multicast and through itself are not judged; those of the node have its address", async () => {
  await lab.pod.output([
    "bash",
    "-c",
    "for to in 10.0.0.2 224.0.0.251; do echo x >/dev/udp/$to/9 || true; done",
  ]);
  await lab.node.output(["bash", "-c", "echo x >/dev/udp/198.51.100.1/9"]);
  const { exempt, cidrs } = await summary();
  expect(exempt.node).toBe(1);
  expect(cidrs[2]).toMatchObject({ kept: 0, node: 1, stale: 0 });
});

test("ports in use toward the busiest destinations", async () => {
  const many = Array.from({ length: 5 }, () => ({ protocol: "udp", to: OUTBOUND }) as const);
  await make(...many, { protocol: "tcp", to: OUTBOUND }, { protocol: "udp", to: KEPT });
  expect(await lines(PortUse, "--ports")).toEqual([
    expect.objectContaining({
      protocol: "udp",
      destination: OUTBOUND,
      port: 8080,
      used: 5,
      available: 64_512,
    }),
    expect.objectContaining({
      protocol: "tcp",
      destination: OUTBOUND,
      port: 8080,
      used: 1,
      available: 64_512,
    }),
  ]);
});

test("the table is read from /proc if conntrack is not installed", async () => {
  await make(...to(OUTBOUND, OUTBOUND_6));
  const { stdout } = await lab.node.run(["env", "PATH=/none", BINARY, "connections", "--output=json"]);
  expect(JSON.parse(stdout)).toEqual(await summary());
});

test("without NET_ADMIN the error says so", async () => {
  const drop = ["setpriv", "--bounding-set=-net_admin", "--inh-caps=-net_admin"];
  const { stderr, exitCode } = await lab.node.run([...drop, BINARY, "connections"]);
  expect(stderr).toContain("run as root, or with the capability NET_ADMIN");
  expect(exitCode).toBe(1);
});

test("the agent's page shows them on request", async () => {
  await make(...to(OUTBOUND));
  const ask = "console.log(await (await fetch('http://127.0.0.1:9469/connections')).text())";
  const page = await lab.node.output(["bun", "-e", ask]);
  expect(page).toContain('<td>all other IPv4</td><td data-label="Verdict">masquerade</td>');
  expect(page).toContain('data-label="Kept">0</td><td class="n" data-label="Masqueraded">3</td>');
  expect(page).toContain("<dd>none</dd>");
});

test("diff --live counts the connections that each change concerns", async () => {
  await make(...to(KEPT, OUTBOUND));
  await writeFile(`${FOLDER}/old.yaml`, config("10.0.0.0/8"));
  await writeFile(`${FOLDER}/new.yaml`, config("203.0.113.0/24, 10.2.0.0/16"));
  const files = [`--from=${FOLDER}/old.yaml`, `--to=${FOLDER}/new.yaml`];
  const { stdout } = await lab.node.run([BINARY, "diff", ...files, "--live"]);
  expect(stdout).toContain("kept and will be masqueraded:\n  live  3 connections of this node\n");
  expect(stdout).toContain("masqueraded and will be kept:\n  live  3 connections of this node\n");
});
