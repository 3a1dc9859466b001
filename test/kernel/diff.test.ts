import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import { rm, writeFile } from "node:fs/promises";
import { BINARY, RunningAgent } from "../../lab/agent.ts";
import { WRITERS } from "../../lab/writers.ts";
import { SUITES } from "../debian/tools.ts";
import { freshFolder, labPerFile } from "../lab.ts";
import { describeTools } from "./backends-under-test.ts";

/** In the empty /run of lab/isolate. */
const FOLDER = "/run/diff";
const CONFIG = `${FOLDER}/ip-masq-agent`;

const lab = labPerFile();
beforeEach(() => freshFolder(FOLDER, { "ip-masq-agent": "nonMasqueradeCIDRs: [10.0.0.0/8]\n" }));
afterEach(async () => {
  await lab.node.output([BINARY, "cleanup"]);
  await lab.node.output(["nft", "flush", "ruleset"]);
});

/** Runs the binary with a folder of tools first in PATH. */
const ipmasq = (words: readonly string[], tools = "") =>
  lab.node.run(["env", `PATH=${tools}:${process.env.PATH}`, BINARY, ...words, `--config=${CONFIG}`]);

/** The added and removed lines of a diff. */
const differing = (diff: string) => diff.split("\n").filter(line => /^[-+](?![-+]{2} )/.test(line));

/** For each writer, changes of its rules and the lines that the diff shows then. */
const DRIFT: Readonly<Record<string, readonly (readonly [string, string[]])[]>> = {
  nftables: [
    [
      "nft delete element ip ip-masq-agent non-masquerade-a { 10.0.0.0/8 }",
      [`+\t\t\t10.0.0.0/8 comment "${CONFIG}:1",`],
    ],
    ["nft add element ip ip-masq-agent non-masquerade-a { 203.0.113.0/24 }", ["-\t\t\t203.0.113.0/24,"]],
    [
      "nft insert rule ip ip-masq-agent IP-MASQ-AGENT ip daddr 192.0.2.0/24 accept",
      ['-\t\tip daddr 192.0.2.0/24 {"accept":null}'],
    ],
    ["nft add chain ip ip-masq-agent theirs", ["-\tchain theirs {", "-\t}"]],
    [
      "nft flush chain ip ip-masq-agent IP-MASQ-AGENT",
      [
        '+\t\tip daddr @non-masquerade return comment "ip-masq-agent: cluster-local traffic"',
        '+\t\tcounter name "outbound" masquerade fully-random comment "ip-masq-agent: outbound traffic"',
      ],
    ],
  ],
  "iptables-nft": iptablesDrift("iptables-nft"),
  "iptables-legacy": iptablesDrift("iptables-legacy"),
};

function iptablesDrift(program: string): [string, string[]][] {
  const kept =
    'iptables -t nat -A IP-MASQ-AGENT -d 10.0.0.0/8 -m comment --comment "ip-masq-agent: cluster-local traffic" -j RETURN';
  return [
    [`${program} -t nat -D IP-MASQ-AGENT 5`, [`+${kept}`]],
    [
      `${program} -t nat -I IP-MASQ-AGENT -d 203.0.113.0/24 -j RETURN`,
      ["-iptables -t nat -A IP-MASQ-AGENT -d 203.0.113.0/24 -j RETURN"],
    ],
    [
      `${program} -t nat -A POSTROUTING -j IP-MASQ-AGENT`,
      ["-iptables -t nat -A POSTROUTING -j IP-MASQ-AGENT"],
    ],
  ];
}

describe.each(WRITERS)("$name", ({ name, flags, prepare }) => {
  test("shows all rules before the first sync, nothing after it, then each drift", async () => {
    await prepare(lab);
    const before = await ipmasq(["diff", ...flags]);
    expect(before).toMatchObject({ exitCode: 1, stderr: "" });
    expect(differing(before.stdout).every(line => line.startsWith("+"))).toBe(true);
    for (const [command, expected] of DRIFT[name] ?? []) {
      await ipmasq(["cleanup"]);
      await ipmasq(["run", "--once", ...flags]);
      expect(await ipmasq(["diff", ...flags])).toEqual({ exitCode: 0, stdout: "", stderr: "" });
      await lab.node.output(command.split(" "));
      const { exitCode, stdout } = await ipmasq(["diff", ...flags]);
      expect({ exitCode, differing: differing(stdout) }, command).toEqual({
        exitCode: 1,
        differing: expected,
      });
    }
  }, 20_000);

  test("shows the rules that another backend left", async () => {
    const others = WRITERS.find(it => it.name !== name && (name === "nftables") !== (it.name === "nftables"));
    await others?.prepare(lab);
    await ipmasq(["run", "--once", ...(others?.flags ?? [])]);
    await prepare(lab);
    const lines = differing((await ipmasq(["diff", ...flags])).stdout);
    expect(lines.filter(line => line.startsWith("-")).join("\n")).toContain(
      "ip-masq-agent: cluster-local traffic",
    );
    expect(lines.filter(line => line.startsWith("+")).join("\n")).toContain(
      "ip-masq-agent: cluster-local traffic",
    );
  });
});

describeTools("tools of other Debian suites", SUITES.slice(1), tools => {
  test.each(tools.flatMap(({ suite, wrapper }) => WRITERS.map(writer => ({ suite, wrapper, ...writer }))))(
    "$name of $suite: shows nothing after a sync",
    async ({ wrapper, flags, prepare }) => {
      await prepare(lab);
      expect((await ipmasq(["run", "--once", ...flags], wrapper)).exitCode).toBe(0);
      expect(await ipmasq(["diff", ...flags], wrapper)).toEqual({ exitCode: 0, stdout: "", stderr: "" });
    },
  );
});

test("beside a native nft rule in table nat, commands read with nft, as the agent does", async () => {
  const flags = ["--backend=iptables", "--enable-ipv6"];
  await writeFile(CONFIG, "nonMasqueradeCIDRs: [10.0.0.0/8, 'fc00::/7']\n");
  await WRITERS.find(it => it.name === "iptables-nft")?.prepare(lab);
  const rule = "type nat hook postrouting priority 100; meta mark 77 fib daddr type local accept;";
  await lab.node.output(["nft", `table ip nat { chain POSTROUTING { ${rule} }; }`]);
  expect((await ipmasq(["run", "--once", ...flags])).exitCode).toBe(0);
  expect(await ipmasq(["diff", ...flags])).toEqual({ exitCode: 0, stdout: "", stderr: "" });
  expect((await ipmasq(["verify", ...flags])).exitCode).toBe(0);
  const explained = await ipmasq(["explain", "--live", "203.0.113.7", ...flags]);
  expect(explained.stderr).toBe("");
  expect(explained.stdout).toContain("in       chain IP-MASQ-AGENT\n  config   agrees");
  const { exitCode, stdout } = await ipmasq(["status", "--output=json", ...flags]);
  expect([exitCode, JSON.parse(stdout)]).toMatchObject([0, { writer: "nft", inSync: true }]);
  expect(JSON.parse(stdout).reason).toStartWith("iptables-nft fails: ");
});

test("with --backend=auto it compares with the backend of the active agent", async () => {
  await ipmasq(["run", "--once", "--backend=iptables"]);
  const { exitCode, stderr } = await ipmasq(["diff"]);
  expect({ exitCode, stderr }).toEqual({
    exitCode: 1,
    stderr: expect.stringMatching(
      /^ipmasq: chain IP-MASQ-AGENT of table nat \(iptables-\w+\) is also in force/,
    ),
  });
  const agent = RunningAgent.start(lab.node, ["--backend=iptables", `--config=${CONFIG}`]);
  await agent.log.until("policy in force");
  expect(await ipmasq(["diff"])).toEqual({ exitCode: 0, stdout: "", stderr: "" });
  expect((await ipmasq(["diff", "--backend=nftables"])).exitCode).toBe(1);
  expect(await agent.end()).toBe(0);
});

test("a comparison that fails exits with 2", async () => {
  await writeFile(CONFIG, "cidrLimit: 0\n");
  const wrong = await ipmasq(["diff"]);
  expect(wrong).toMatchObject({ exitCode: 2, stdout: "" });
  expect(wrong.stderr).toStartWith(`${CONFIG}:1:12: cidrLimit: `);
  await rm(CONFIG);
  const none = await lab.node.run(["env", "PATH=/none", BINARY, "diff"]);
  expect(none).toMatchObject({ exitCode: 2, stdout: "" });
  expect(none.stderr).toContain("neither iptables nor nft is installed");
  expect((await ipmasq(["diff", "--from=/x"])).exitCode).toBe(64);
});

test("two configs are compared by rules and by addresses", async () => {
  await writeFile(`${FOLDER}/old`, "nonMasqueradeCIDRs: [10.0.0.0/8, 192.0.2.0/24]\n");
  await writeFile(`${FOLDER}/new`, "# moved\nnonMasqueradeCIDRs: [10.0.0.0/8, 198.18.0.0/15]\n");
  const compare = (from: string, to: string, ...more: string[]) =>
    ipmasq(["diff", `--from=${FOLDER}/${from}`, `--to=${FOLDER}/${to}`, ...more]);
  expect(await compare("old", "new")).toEqual({
    exitCode: 1,
    stderr: "",
    stdout: `--- ${FOLDER}/old
+++ ${FOLDER}/new
@@ -7,7 +7,7 @@
 \t\telements = {
 \t\t\t10.0.0.0/8,
 \t\t\t169.254.0.0/16,
-\t\t\t192.0.2.0/24,
+\t\t\t198.18.0.0/15,
 \t\t}
 \t}
 \tchain postrouting {

IPv4 connections that were kept and will be masqueraded:
  to    192.0.2.0/24
IPv4 connections that were masqueraded and will be kept:
  to    198.18.0.0/15
`,
  });
  expect((await compare("old", "new", "--backend=iptables")).stdout).toContain(
    '+iptables -t nat -A IP-MASQ-AGENT -d 198.18.0.0/15 -m comment --comment "ip-masq-agent: cluster-local traffic" -j RETURN\n',
  );
  await writeFile(
    `${FOLDER}/same`,
    "# where a CIDR stands\n\n\nnonMasqueradeCIDRs: [192.0.2.0/24, 10.0.0.0/8]\n",
  );
  expect(await compare("old", "same")).toEqual({ exitCode: 0, stdout: "", stderr: "" });
  await writeFile(`${FOLDER}/eth0`, "outputInterfaces: [eth0]\n");
  await writeFile(`${FOLDER}/eth1`, "outputInterfaces: [eth1]\n");
  for (const backend of ["nftables", "iptables"]) {
    const { exitCode, stdout } = await compare("eth0", "eth1", `--backend=${backend}`);
    expect(exitCode).toBe(1);
    expect(stdout).toEndWith(`
IPv4 connections that were kept and will be masqueraded:
  to    all except 10.0.0.0/8, 169.254.0.0/16, 172.16.0.0/12, 192.168.0.0/16
  by    eth1
IPv4 connections that were masqueraded and will be kept:
  to    all except 10.0.0.0/8, 169.254.0.0/16, 172.16.0.0/12, 192.168.0.0/16
  by    eth0
`);
  }
  await writeFile(`${FOLDER}/redundant`, "nonMasqueradeCIDRs: [10.0.0.0/9, 10.128.0.0/9, 192.0.2.0/24]\n");
  const { exitCode, stdout } = await compare("old", "redundant");
  expect({ exitCode, last: stdout.split("\n").slice(-3) }).toEqual({
    exitCode: 1,
    last: ["", "The same connections are masqueraded.", ""],
  });
});
