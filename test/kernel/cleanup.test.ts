import { beforeEach, describe, expect, test } from "bun:test";
import { symlink, writeFile } from "node:fs/promises";
import { BINARY, RunningAgent } from "../../lab/agent.ts";
import { Lines } from "../../lab/lines.ts";
import { WRITERS } from "../../lab/writers.ts";
import { freshFolder, labPerTest } from "../lab.ts";
import { CrashingNft } from "./crashing-nft.ts";

/** lab/isolate mounts an empty /run. */
const TOOLS = "/run/cleanup-tools";
const OUTBOUND = "203.0.113.7";

const lab = labPerTest();
beforeEach(() => freshFolder(TOOLS));

const sh = (line: string) => lab.node.output(["sh", "-c", line]);
const cleanup = (path = "") => lab.node.run(["env", `PATH=${path}${process.env.PATH}`, BINARY, "cleanup"]);
const once = (...flags: string[]) => lab.node.output([BINARY, "run", "--once", ...flags]);

/** An echo server on one port of every address. */
const ECHO = `Bun.listen({ hostname: "0.0.0.0", port: 7777, socket: { data: (s, d) => void s.write(d) } });
  console.log("listening")`;
/** Sends each line of its input over one connection, and prints the answers. */
const CLIENT = `const s = await Bun.connect({ hostname: "${OUTBOUND}", port: 7777, socket: { data: (_, d) => console.log("got " + d) } });
  console.log("connected");
  for await (const line of console) { s.write(line); s.flush(); }`;

test.each(WRITERS)(
  "a masqueraded connection continues after cleanup if another NAT rule is in use: $name",
  async ({ flags, prepare }) => {
    await sh("nft 'table ip theirs { chain c { type nat hook prerouting priority -100; }; }'");
    await sh("nft add rule ip theirs c ip daddr 198.51.100.1 dnat to 198.51.100.2");
    await prepare(lab);
    await once(...flags);
    const server = lab.outside.spawn([process.execPath, "-e", ECHO]);
    await new Lines(server.stdout).until("listening");
    const client = lab.pod.spawn([process.execPath, "-e", CLIENT], { stdin: "pipe" });
    const answers = new Lines(client.stdout);
    await answers.until("connected");
    const say = async (word: string) => {
      client.stdin.write(`${word}\n`);
      client.stdin.flush();
      await answers.until(`got ${word}`);
    };
    await say("before");
    expect((await cleanup()).exitCode).toBe(0);
    await say("after");
    expect(await lab.ownerSeen({ protocol: "udp", to: OUTBOUND })).toBe("pod");
  },
  15_000,
);

describe("each backend and family is cleaned up on its own", () => {
  const installed = async () => {
    await once("--enable-ipv6");
    await sh("nft list ruleset >/run/nftables-rules; nft delete table ip ip-masq-agent");
    for (const variant of ["iptables-nft", "iptables-legacy"]) {
      await lab.node.run([variant, "-t", "mangle", "-N", "KUBE-IPTABLES-HINT"]);
      await once("--backend=iptables", "--enable-ipv6");
      await sh(`${variant}-save >/run/${variant}-rules; ip6${variant.slice(2)}-save >/run/ip6-${variant}`);
      await lab.node.run([variant, "-t", "mangle", "-X", "KUBE-IPTABLES-HINT"]);
    }
    // All of them at once; an agent would not leave them like this.
    await sh(`nft flush ruleset; iptables-nft-restore </run/iptables-nft-rules; nft -f /run/nftables-rules
      ip6tables-nft-restore </run/ip6-iptables-nft
      iptables-legacy-restore </run/iptables-legacy-rules; ip6tables-legacy-restore </run/ip6-iptables-legacy`);
  };
  const left = () =>
    sh(
      "{ nft list ruleset; iptables-legacy-save; ip6tables-legacy-save; } | grep -c -E 'ip-masq-agent|IP-MASQ-AGENT' || true",
    ).then(Number);

  test("all rules are removed", async () => {
    await installed();
    expect(await left()).toBeGreaterThan(30);
    const { exitCode, stdout, stderr } = await cleanup();
    expect({ exitCode, stderr }).toEqual({ exitCode: 0, stderr: "" });
    expect(stdout).toContain("removed table ip ip-masq-agent\nremoved table ip6 ip-masq-agent\n");
    expect(stdout).toMatch(/removed \d+ rules of iptables-legacy in table ip6 nat\n/);
    expect(await left()).toBe(0);
  }, 15_000);

  test("rules that cannot be removed are named, and the others are removed", async () => {
    await installed();
    await writeFile(`${TOOLS}/iptables-legacy-restore`, "#!/bin/sh\necho no >&2; exit 1\n", { mode: 0o755 });
    const { exitCode, stdout, stderr } = await cleanup(`${TOOLS}:`);
    expect(exitCode).toBe(1);
    expect(stderr).toMatch(
      /^ipmasq: rules may remain in ip, by iptables-legacy: iptables-legacy-restore .*\n$/,
    );
    expect(stdout).toContain("removed table ip6 ip-masq-agent\n");
    expect(stdout).toMatch(/removed \d+ rules of iptables-legacy in table ip6 nat\n/);
    expect(await sh("nft list ruleset")).not.toContain("ip-masq-agent");
    expect(await sh("ip6tables-legacy-save")).not.toContain("IP-MASQ-AGENT");
    expect(await sh("iptables-legacy-save")).toContain("IP-MASQ-AGENT");
  }, 15_000);
});

test("with --cleanup-on-exit the agent ends despite a hanging nft, and reports rules that may remain", async () => {
  const nft = await CrashingNft.create();
  const agent = RunningAgent.start(lab.node, ["--cleanup-on-exit"], [...nft.environment, BINARY]);
  await agent.log.until("policy in force");
  await nft.become("hang");
  const began = performance.now();
  expect(await agent.end()).toBe(0);
  expect(performance.now() - began).toBeLessThan(7000);
  expect((await agent.log.until("agent stopped")).join("\n")).toContain(
    "ERROR cleanup timed out; rules may remain",
  );
  expect(await sh("nft list ruleset")).toContain("ip-masq-agent");
}, 15_000);

test("a foreign table that iptables cannot read does not make it fail", async () => {
  await sh(
    `nft 'table ip nat { chain POSTROUTING { type nat hook postrouting priority 100; oifname "eth9" masquerade; }; }'`,
  );
  await once("--backend=nftables");
  const { exitCode, stdout, stderr } = await cleanup();
  expect({ exitCode, stdout }).toEqual({ exitCode: 0, stdout: "removed table ip ip-masq-agent\n" });
  expect(stderr).toStartWith("ipmasq: cannot read ip, by iptables-nft: ");
  expect(stderr).toEndWith(", which iptables cannot read\n");
  expect(await sh("nft list ruleset")).toContain('oifname "eth9"');
});

test("a missing program does not make it fail", async () => {
  const nft = Bun.which("nft");
  if (nft) await symlink(nft, `${TOOLS}/nft`);
  await once();
  const { exitCode, stdout, stderr } = await lab.node.run(["env", `PATH=${TOOLS}`, BINARY, "cleanup"]);
  expect({ exitCode, stdout, stderr }).toEqual({
    exitCode: 0,
    stdout: "removed table ip ip-masq-agent\n",
    stderr: "",
  });
});
