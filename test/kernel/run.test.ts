import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import { writeFile } from "node:fs/promises";
import { BINARY, RunningAgent } from "../../lab/agent.ts";
import { save } from "../../lab/save.ts";
import { freshFolder, labPerFile } from "../lab.ts";
import { upstreamAgentSync } from "./upstream-agent.ts";

/** lab/isolate mounts an empty /run. */
const CONFIG = "/run/binary/ip-masq-agent";
const LIST = ["nft", "-a", "list", "ruleset"];

const lab = labPerFile();
beforeEach(() => freshFolder("/run/binary", { "ip-masq-agent": "# the defaults\n" }));
afterEach(() => lab.node.output(["nft", "flush", "ruleset"]));

const once = () => lab.node.run([BINARY, "run", "--once", `--config=${CONFIG}`]);

test("run --once with the defaults writes the expected table", async () => {
  expect(await once()).toMatchObject({ exitCode: 0, stdout: "" });
  expect(
    await lab.node.output(["nft", "list", "table", "ip", "ip-masq-agent"]),
  ).toBe(`table ip ip-masq-agent {
	counter outbound {
		packets 0 bytes 0
	}

	set non-masquerade-a {
		type ipv4_addr
		flags interval
		counter
		elements = { 10.0.0.0/8 counter packets 0 bytes 0 comment "default", 169.254.0.0/16 counter packets 0 bytes 0 comment "default",
			     172.16.0.0/12 counter packets 0 bytes 0 comment "default", 192.168.0.0/16 counter packets 0 bytes 0 comment "default" }
	}

	chain postrouting {
		type nat hook postrouting priority srcnat + 1; policy accept;
		rt ipsec exists return comment "ip-masq-agent: traffic under an IPsec policy is never masqueraded"
		ip daddr 224.0.0.0/4 return comment "ip-masq-agent: multicast is never masqueraded"
		fib daddr type unicast jump IP-MASQ-AGENT comment "ip-masq-agent: non-local destinations go through IP-MASQ-AGENT"
	}

	chain IP-MASQ-AGENT {
		ip daddr @non-masquerade-a return comment "ip-masq-agent: cluster-local traffic"
		counter name "outbound" masquerade fully-random comment "ip-masq-agent: outbound traffic"
	}
}
`);
  const before = await lab.node.output(LIST);
  const again = await once();
  expect(again).toMatchObject({ exitCode: 0, stdout: "" });
  expect(again.stderr).not.toContain("rules applied");
  expect(await lab.node.output(LIST)).toBe(before);
});

test("a ConfigMap manifest is read instead of a config", async () => {
  await writeFile(
    CONFIG,
    "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: ip-masq-agent\ndata:\n  config: |\n    nonMasqueradeCIDRs:\n      - 203.0.113.0/24\n",
  );
  expect(await once()).toMatchObject({ exitCode: 0, stdout: "" });
  const set = await lab.node.output(["nft", "list", "set", "ip", "ip-masq-agent", "non-masquerade-a"]);
  expect(set).toContain(`203.0.113.0/24 counter packets 0 bytes 0 comment "${CONFIG}:8"`);
  expect(set).not.toContain("10.0.0.0/8");
});

test("the agent warns about a missing --config path and about a family without a CIDR", async () => {
  const agent = RunningAgent.start(lab.node, ["--config=/run/binary/none", "--enable-ipv6"]);
  const lines = (await agent.log.until("rules applied")).join("\n");
  expect(lines).toContain(
    "WARN  /run/binary/none: does not exist, so the defaults apply; fix the path, or create the file [path-missing]",
  );
  expect(lines).toContain("so Pod-to-Pod IPv6 is masqueraded");
  expect(await agent.end()).toBe(0);
});

describe("a rejected config leaves the kernel unchanged", () => {
  test.each([
    ["a wrong CIDR", "nonMasqueradeCIDRs:\n  - 10.0.0.0/33\n", "2:5: nonMasqueradeCIDRs[0]: "],
    ["no known key", "prefixes: []\n", "1:1: not a config: no known key"],
    ["two documents", "cidrLimit: 5\n---\ncidrLimit: 5\n", "2:1: more than one YAML document"],
  ])("%s", async (_what, config, problem) => {
    expect((await once()).exitCode).toBe(0);
    const before = await lab.node.output(LIST);
    await writeFile(CONFIG, config);
    const { exitCode, stdout, stderr } = await once();
    expect({ exitCode, stdout }).toEqual({ exitCode: 1, stdout: "" });
    expect(stderr).toContain(`ERROR ${CONFIG}:${problem}`);
    expect(await lab.node.output(LIST)).toBe(before);
  });
});

test("cleanup removes only ipmasq's rules", async () => {
  await lab.node.output([
    "nft",
    "add table ip theirs { chain c { type nat hook postrouting priority 100; }; }",
  ]);
  const before = await lab.node.output(LIST);
  await writeFile(CONFIG, "");
  expect(
    (await lab.node.run([BINARY, "run", "--once", "--enable-ipv6", `--config=${CONFIG}`])).exitCode,
  ).toBe(0);
  expect(await lab.node.output([BINARY, "cleanup"])).toBe(
    "removed table ip ip-masq-agent\nremoved table ip6 ip-masq-agent\n",
  );
  expect(await lab.node.output(LIST)).toBe(before);
  expect(await lab.node.output([BINARY, "cleanup"])).toBe("nothing to remove\n");
});

test("without privileges, the error names the missing capability", async () => {
  const drop = ["setpriv", "--bounding-set=-net_admin", "--inh-caps=-all"];
  const { exitCode, stderr } = await lab.node.run([...drop, BINARY, "run", "--once", `--config=${CONFIG}`]);
  expect(exitCode).toBe(1);
  expect(stderr).toContain("Operation not permitted");
  expect(stderr).toContain("NET_ADMIN");
});

test("without the privilege to read iptables-legacy on a node that uses it, its tables do not count as empty", async () => {
  await lab.node.output(["iptables-legacy", "-t", "mangle", "-N", "KUBE-IPTABLES-HINT"]);
  const drop = ["setpriv", "--bounding-set=-net_raw", "--inh-caps=-all"];
  const argv = [...drop, BINARY, "run", "--once", "--backend=iptables", `--config=${CONFIG}`];
  const { exitCode, stderr } = await lab.node.run(argv);
  await lab.node.output(["iptables-legacy", "-t", "mangle", "-X"]);
  expect(exitCode).toBe(1);
  expect(stderr).toContain("NET_RAW");
  expect(await lab.node.output(LIST)).toBe("");
});

test("without nft, the error names the package to install", async () => {
  const { exitCode, stderr } = await lab.node.run([
    "env",
    "PATH=/none",
    BINARY,
    "run",
    "--once",
    `--config=${CONFIG}`,
  ]);
  expect(exitCode).toBe(1);
  expect(stderr).toMatch(/nft.*install/);
});

describe("the agent", () => {
  const started = (...flags: string[]) => RunningAgent.started(lab.node, [`--config=${CONFIG}`, ...flags]);

  test.each(["SIGTERM", "SIGINT"] as const)("ends at once on %s and leaves its rules", async signal => {
    const agent = await started();
    const before = performance.now();
    expect(await agent.end(signal)).toBe(0);
    expect(performance.now() - before).toBeLessThan(1000);
    expect(await lab.node.output(LIST)).toContain("masquerade fully-random");
  });

  test("removes its rules at exit with --cleanup-on-exit", async () => {
    const agent = await started("--cleanup-on-exit");
    expect(await agent.end()).toBe(0);
    expect(await lab.node.output(LIST)).toBe("");
  });

  test("continues after an agent that was killed", async () => {
    const agent = await started();
    const before = await lab.node.output(LIST);
    await agent.end("SIGKILL");
    expect((await once()).stderr).not.toContain("rules applied");
    expect(await lab.node.output(LIST)).toBe(before);
  });

  test("repairs the changes of an ip-masq-agent with other CIDRs and logs the remedy", async () => {
    const agent = await started("--backend=iptables");
    await Bun.sleep(100); // until it has verified its own write
    const twice = "-t nat -A POSTROUTING -m addrtype ! --dst-type LOCAL -j IP-MASQ-AGENT";
    await lab.node.output(["iptables-nft", ...twice.split(" ")]);
    await agent.log.until('repaired added=0 removed=1 firstRemoved="iptables -t nat -A POSTROUTING');
    const theirs = () => upstreamAgentSync(lab.node, "iptables-nft", ["10.0.0.0/8"]);
    await theirs();
    await agent.log.until("repaired"); // only of the jump, or also of the chain
    await Bun.sleep(100);
    await theirs();
    const said = (await agent.log.until("repaired added=8 removed=3")).at(-1);
    expect(said).toContain('remedy="another ip-masq-agent is running; remove it"');
    expect(await agent.end()).toBe(0);
  });

  test("continues when its log cannot be written", async () => {
    const command = ["sh", "-c", 'exec "$0" "$@" 2>/dev/full', BINARY, `--config=${CONFIG}`, "--listen="];
    const agent = lab.node.spawn(command);
    const listed = async () => (await lab.node.output(LIST)).includes("masquerade fully-random");
    while (!(await listed())) await Bun.sleep(5);
    await lab.node.output(["nft", "flush", "ruleset"]);
    while (!(await listed())) await Bun.sleep(5);
    agent.kill("SIGTERM");
    expect(await agent.exited).toBe(0);
  });

  test("that starts with an invalid config writes nothing until it is valid", async () => {
    await writeFile(CONFIG, "cidrLimit: 0\n");
    const agent = RunningAgent.start(lab.node, [`--config=${CONFIG}`]);
    await agent.log.until("config rejected, no rules are written");
    expect(await lab.node.output(LIST)).toBe("");
    await save(CONFIG, "cidrLimit: 1\n");
    await agent.log.until("rules applied");
    expect(await agent.end()).toBe(0);
  });
});
