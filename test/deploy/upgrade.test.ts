/** Tests the statements of docs/upgrade.md about connections. */
import { afterEach, beforeEach, expect, test } from "bun:test";
import { mkdir, rm, writeFile } from "node:fs/promises";
import { BINARY, RunningAgent } from "../../lab/agent.ts";
import { Lab } from "../../lab/lab.ts";
import { Lines } from "../../lab/lines.ts";
import { save } from "../../lab/save.ts";
import { upstreamAgentSync } from "../kernel/upstream-agent.ts";

/** lab/isolate mounts an empty /run. */
const CONFIG = "/run/upgrade/ip-masq-agent";
const KEPT = "10.1.2.3";
const OUTBOUND = "203.0.113.7";

let lab: Lab;
beforeEach(async () => {
  lab = await Lab.create();
  await mkdir("/run/upgrade", { recursive: true });
  await writeFile(CONFIG, "nonMasqueradeCIDRs: [10.0.0.0/8]\n");
});
afterEach(async () => {
  await lab.close();
  await rm("/run/upgrade", { recursive: true });
});

const run = (line: string) => lab.node.output(["sh", "-c", line]);

/** Opens a TCP connection. Each call sends a line and returns the client's address and port as the server sees them. */
async function session(to: string): Promise<() => Promise<string>> {
  const server = lab[to === KEPT ? "inside" : "outside"].spawn([process.execPath, "--eval", SERVER]);
  await new Lines(server.stdout).until("listening");
  const client = lab.pod.spawn([process.execPath, "--eval", CLIENT, to], { stdin: "pipe" });
  const answers = new Lines(client.stdout);
  return async () => {
    client.stdin.write("?\n");
    client.stdin.flush();
    return (await answers.until(":")).join("");
  };
}

const SERVER = `
const data = (socket) => void socket.write(socket.remoteAddress + ":" + socket.remotePort + "\\n");
Bun.listen({ hostname: "0.0.0.0", port: 9000, socket: { data } });
console.log("listening");
`;
const CLIENT = `
const data = (_, bytes) => void process.stdout.write(bytes);
const socket = await Bun.connect({ hostname: process.argv.at(-1), port: 9000, socket: { data, close: () => process.exit() } });
for await (const line of console) socket.write(line);
`;

test.each([
  ["iptables-nft", "IP-MASQ-AGENT", "through iptables"],
  ["iptables-legacy", "IP-MASQ-AGENT", "through iptables"],
  ["iptables-nft", "IP-MASQ", "through iptables"],
  ["iptables-nft", "IP-MASQ-AGENT", "directly"],
  ["iptables-legacy", "IP-MASQ-AGENT", "directly"],
])(
  "from ip-masq-agent with %s and chain %s to nftables, and back %s",
  async (iptables, chain, back) => {
    const theirs = () => upstreamAgentSync(lab.node, iptables, ["10.0.0.0/8"], chain);
    const old = async () => (await run(`${iptables}-save -t nat`)).match(/^-A.*IP-MASQ.*$/gm) ?? [];
    await run(`${iptables} -t mangle -N KUBE-IPTABLES-HINT`);
    await theirs();
    const before = await old();
    const [outbound, kept] = [await session(OUTBOUND), await session(KEPT)];
    const seen = [await outbound(), await kept()];
    expect(seen.map(it => lab.owner(it.replace(/:.*/, "")))).toEqual(["node", "pod"]);
    const load = await lab.load({ destinations: [KEPT, OUTBOUND], flowsPerSecond: 3000 });

    const flags = [`--config=${CONFIG}`, `--masq-chain=${chain}`];
    const first = await RunningAgent.started(lab.node, flags);
    while ((await old()).length > 0) await Bun.sleep(5); // removed once the new rules are in force
    expect(await first.end()).toBe(0);
    if (back === "through iptables") {
      const second = await RunningAgent.started(lab.node, [...flags, "--backend=iptables"]);
      while ((await run("nft list tables")).includes("ip-masq-agent")) await Bun.sleep(5);
      expect(await second.end()).toBe(0);
    }
    await theirs();
    if (back === "directly") await run("nft delete table ip ip-masq-agent");
    expect(await run("nft list tables")).not.toContain("ip-masq-agent");
    // There can be a second jump, because ip-masq-agent recognises only its own; it has no effect.
    expect((await old()).filter(line => line.startsWith(`-A ${chain} `))).toEqual(
      before.filter(line => line.startsWith(`-A ${chain} `)),
    );

    const [toKept, toOutbound] = await load.stop();
    expect(toKept).toMatchObject({ fromNode: 0, other: 0 });
    expect(toOutbound).toMatchObject({ fromPod: 0, other: 0 });
    expect([await outbound(), await kept()]).toEqual(seen);
  },
  30_000,
);

test("an existing connection keeps its address after a config change", async () => {
  const agent = await RunningAgent.started(lab.node, [`--config=${CONFIG}`]);
  const outbound = await session(OUTBOUND);
  const seen = await outbound();
  expect(lab.owner(seen.replace(/:.*/, ""))).toBe("node");
  await save(CONFIG, "nonMasqueradeCIDRs: [10.0.0.0/8, 203.0.113.0/24]\n");
  await agent.log.until("rules applied");
  expect(await lab.ownerSeen({ protocol: "tcp", to: OUTBOUND })).toBe("pod");
  expect(await outbound()).toBe(seen);
  expect(await agent.end()).toBe(0);
});

test("after cleanup, masqueraded connections continue only while other NAT rules exist", async () => {
  const agent = await RunningAgent.started(lab.node, [`--config=${CONFIG}`]);
  const outbound = await session(OUTBOUND);
  const seen = await outbound();
  const chain = "type nat hook postrouting priority 100; ip daddr 198.18.0.0/15 masquerade;";
  await run(`nft 'add table ip other { chain c { ${chain} }; }'`);
  expect(await agent.end()).toBe(0);
  await lab.node.output([BINARY, "cleanup"]);
  expect(await lab.ownerSeen({ protocol: "tcp", to: OUTBOUND })).toBe("pod");
  expect(await outbound()).toBe(seen);

  // Without NAT rules the kernel stops translating; the server gets packets of an unknown connection and resets it.
  await run("nft delete table ip other");
  await expect(outbound()).rejects.toThrow("the output ended");
}, 20_000);
