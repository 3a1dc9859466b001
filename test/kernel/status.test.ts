import { afterEach, beforeEach, expect, test } from "bun:test";
import { writeFile } from "node:fs/promises";
import * as v from "valibot";
import { BINARY } from "../../lab/agent.ts";
import { Lines } from "../../lab/lines.ts";
import { batch } from "../../lab/network.ts";
import { versionOf } from "../../lab/output.ts";
import { WRITERS } from "../../lab/writers.ts";
import { Status } from "../../src/inspect/status.ts";
import { crashesBesideNewer } from "../../src/nft/version.ts";
import { freshFolder, labPerFile } from "../lab.ts";

/** lab/isolate mounts an empty /run. */
const FOLDER = "/run/status";
const CONFIG = `${FOLDER}/ip-masq-agent`;
const KEPT = "10.1.2.3";
const OUTBOUND = "203.0.113.7";

/** The note about the nft of this machine, if it is old. */
const CAUTION = crashesBesideNewer(await versionOf("nft"))
  ? { notes: [expect.stringContaining("crashes if a newer nft on this node")] }
  : {};

const lab = labPerFile();
beforeEach(() => freshFolder(FOLDER, { "ip-masq-agent": "nonMasqueradeCIDRs: [10.0.0.0/8]\n" }));
afterEach(async () => {
  await lab.node.output([BINARY, "cleanup"]);
  await lab.node.output(["nft", "flush", "ruleset"]);
});

async function status(...flags: string[]): Promise<{ exitCode: number; status: Status }> {
  const { exitCode, stdout, stderr } = await lab.node.run([
    BINARY,
    "status",
    "--output=json",
    `--config=${CONFIG}`,
    ...flags,
  ]);
  expect(stderr).toBe("");
  return { exitCode, status: v.parse(Status, JSON.parse(stdout)) };
}

test.each(WRITERS)(
  "the agent is asked, and without one the kernel: $name",
  async ({ name, flags, prepare }) => {
    await prepare(lab);
    const agent = lab.node.spawn([BINARY, `--config=${CONFIG}`, ...flags], { stderr: "pipe" });
    await new Lines(agent.stderr).until("serving metrics and health");
    await lab.connect({ protocol: "udp", to: KEPT });
    await lab.connect({ protocol: "tcp", to: OUTBOUND });
    const backend =
      name === "nftables" ? { backend: "nftables", writer: "nft" } : { backend: "iptables", writer: name };
    const counted = {
      cidrs: [
        { cidr: "169.254.0.0/16", verdict: "keep", connections: 0 },
        {
          cidr: "10.0.0.0/8",
          verdict: "keep",
          connections: 1,
          origin: { file: CONFIG, line: 1, column: 22 },
        },
      ],
      outbound: [{ family: "ip", connections: 1 }],
    };
    expect(await status(...flags)).toMatchObject({
      exitCode: 0,
      status: {
        from: "agent",
        inSync: true,
        ...backend,
        ...counted,
        policy: { chain: "IP-MASQ-AGENT" },
        problems: [],
        ...(name === "nftables" ? CAUTION : {}),
      },
    });
    agent.kill();
    await agent.exited;
    expect(await status(...flags)).toMatchObject({
      exitCode: 0,
      status: { from: "kernel", inSync: true, ...backend, ...counted },
    });
    await lab.node.output([BINARY, "cleanup"]);
    const without = await status(...flags);
    expect(without).toMatchObject({ exitCode: 1, status: { from: "kernel", inSync: false } });
    expect(without.status.outbound).toEqual([{ family: "ip" }]);
  },
);

test("an answer in sync is not believed if the kernel has no rules, nor is an answer that is not a status", async () => {
  const answer = {
    ...{ from: "agent", version: "1.2.3", backend: "nftables", writer: "nft", inSync: true, config: "/none" },
    policy: { chain: "IP-MASQ-AGENT", families: ["ip"], randomFully: true },
    cidrs: [{ cidr: "10.0.0.0/8", family: "ip", verdict: "keep", origin: { default: true } }],
    ...{ outbound: [], conflicts: [], problems: ["\u001b[2J"] },
  };
  const server = (body: string) => lab.node.spawn(["bun", "-e", OTHER_SERVER, body], { stdout: "pipe" });
  const impostor = server(JSON.stringify(answer));
  await new Lines(impostor.stdout).until("listening");
  expect(await status()).toMatchObject({
    exitCode: 1,
    status: { inSync: false, why: "the agent reports in sync, but the kernel has no rules of ipmasq" },
  });
  const { stdout } = await lab.node.run([BINARY, "status"]);
  expect(stdout).toStartWith(
    "in force      NO: the agent reports in sync, but the kernel has no rules of ipmasq\n",
  );
  expect(stdout).toContain("problems      \\u{1b}[2J\n");
  impostor.kill();
  await impostor.exited;
  const other = server("<html>");
  await new Lines(other.stdout).until("listening");
  expect((await status()).status).toMatchObject({
    from: "kernel",
    inSync: false,
    problems: [
      expect.stringContaining(
        "127.0.0.1:9469 answers, but it is not JSON; check whether it is another program",
      ),
    ],
  });
  other.kill();
  await other.exited;
});

/** Another program on the port of the agent. It answers all requests with its argument. */
const OTHER_SERVER =
  'Bun.serve({ hostname: "127.0.0.1", port: 9469, fetch: () => new Response(process.argv[1]) }); console.log("listening")';

test("rules are read from the chain that the flags name, with foreign rules in it", async () => {
  await lab.node.output(["iptables-nft", "-t", "mangle", "-N", "KUBE-IPTABLES-HINT"]);
  await lab.node.output([BINARY, "run", "--once", "--backend=iptables", "--masq-chain=OURS"]);
  await lab.node.output("iptables-nft -t nat -A OURS -s 192.0.2.1 -j RETURN".split(" "));
  const answer = {
    ...{ from: "agent", version: "1.2.3", backend: "iptables", writer: "iptables-nft", inSync: true },
    policy: { chain: "OURS", families: ["ip"], randomFully: true },
    cidrs: [{ cidr: "10.0.0.0/8", family: "ip", verdict: "keep", origin: { default: true } }],
    ...{ config: "/none", outbound: [], conflicts: [], problems: [] },
  };
  const server = lab.node.spawn(["bun", "-e", OTHER_SERVER, JSON.stringify(answer)], { stdout: "pipe" });
  await new Lines(server.stdout).until("listening");
  expect((await status("--masq-chain=OURS")).status).toMatchObject({ kernel: "has all CIDRs of the agent" });
  server.kill();
  await server.exited;
  await lab.node.output([BINARY, "cleanup", "--masq-chain=OURS"]);
  await lab.node.output(["iptables-nft", "-t", "mangle", "-X", "KUBE-IPTABLES-HINT"]);
});

test("errors are among the problems", async () => {
  await writeFile(CONFIG, "cidrLimit: 0\n");
  const wrong = await status();
  expect(wrong).toMatchObject({ exitCode: 1, status: { inSync: false, why: "the config has errors" } });
  expect(wrong.status.problems).toEqual([expect.stringContaining(`${CONFIG}:1:12: cidrLimit`)]);
  const { stdout, exitCode } = await lab.node.run(["env", "PATH=/none", BINARY, "status"]);
  expect(exitCode).toBe(1);
  expect(stdout).toMatch(/^in force +NO: neither iptables nor nft is installed/);
});

test("Pod networks outside of the list are among the problems", async () => {
  const bridge = ["add cni0 type bridge", "set cni0 up"].map(it => `link ${it}`);
  await batch(
    [...bridge, "address add 100.64.7.1/24 dev cni0", "address add 10.9.0.1/24 dev cni0"],
    "-n",
    "node",
  );
  const { problems } = (await status()).status;
  expect(problems).toEqual([
    "100.64.7.0/24 on cni0 looks like a Pod network of this node, but connections to it are masqueraded; add the Pod CIDR to nonMasqueradeCIDRs",
  ]);
  await batch(["link delete cni0"], "-n", "node");
});

test("without rules in the kernel, the remedy is to write them", async () => {
  await lab.node.output([BINARY, "cleanup"]);
  const why = "the kernel has no rules of ipmasq; write them with ipmasq run";
  expect((await status(`--config=${CONFIG}`)).status).toMatchObject({ inSync: false, why });
  const { stdout } = await lab.node.run([BINARY, "status"]);
  expect(stdout).toContain("\n  judged by the defaults, because /etc/config/ip-masq-agent does not exist\n");
  await lab.node.output([BINARY, "run", "--once", `--config=${CONFIG}`]);
});

test("a config that is still being written is a problem", async () => {
  const agent = lab.node.spawn([BINARY, `--config=${CONFIG}`], { stderr: "pipe" });
  await new Lines(agent.stderr).until("serving metrics and health");
  const writer = lab.node.spawn([
    "sh",
    "-c",
    `exec 3>${CONFIG}; echo nonMasqueradeCIDRs: >&3; exec sleep 60`,
  ]);
  const warning = `${CONFIG}: perhaps still being written; read within five seconds of its last change; last good policy stays active`;
  const isShown = async () => (await status()).status.problems.includes(warning);
  while (!(await isShown())) await Bun.sleep(20);
  writer.kill();
  await writer.exited;
  while (await isShown()) await Bun.sleep(20);
  agent.kill();
  await agent.exited;
}, 20_000);

test("rules of another backend are a note", async () => {
  await lab.node.output([BINARY, "run", "--once", "--backend=iptables", `--config=${CONFIG}`]);
  const { notes = [] } = (await status()).status;
  expect(notes[0]).toMatch(
    /^chain IP-MASQ-AGENT of table nat \(iptables-\w+\) is also in force until an agent removes it; to compare with it, use --backend=iptables$/,
  );
  expect((await status("--backend=iptables")).status.notes?.join() ?? "").not.toContain("also in force");
});

test("a foreign rule that overrules the policy is in the headline, and the exit code is 3", async () => {
  const flags = [`--config=${CONFIG}`];
  await lab.node.output([BINARY, "run", "--once", ...flags]);
  await lab.node.output(["nft", "add", "table", "ip", "nat"]);
  const hook = "{ type nat hook postrouting priority 100; }";
  await lab.node.output(["nft", `add chain ip nat post ${hook}`]);
  await lab.node.output("nft add rule ip nat post ip saddr 10.244.0.0/16 masquerade".split(" "));
  const { exitCode, stdout } = await lab.node.run([BINARY, "status", ...flags]);
  expect(stdout).toMatch(/^overruled +by an unknown program for 169.254.0.0\/16 10.0.0.0\/8$/m);
  expect(exitCode).toBe(3);
});

test("--watch prints it repeatedly until SIGINT", async () => {
  const watching = lab.node.spawn([BINARY, "status", "--watch", "--output=json"]);
  const lines = new Lines(watching.stdout);
  await lines.until('"inSync":false');
  await lab.node.output([BINARY, "run", "--once"]);
  await lines.until('"inSync":true');
  watching.kill("SIGINT");
  expect(await watching.exited).toBe(0);
}, 10_000);

/** `status --watch` on a terminal of 12 lines, whose input is `keys`. */
async function watched(keys: string, before = ""): Promise<{ exitCode: number; stdout: string }> {
  const command = `stty cols 60 rows 12; ${before} ${BINARY} status --watch --config=${CONFIG}; code=$?; stty -a | grep -o " -\\?icanon"; exit $code`;
  const { exitCode, stdout } = await lab.node.run([
    "bash",
    "-c",
    `(sleep 1; printf '${keys}'; sleep 1) | TERM=xterm script --quiet --return --command '${command}' /dev/null`,
  ]);
  return { exitCode, stdout };
}

test.each([
  ["q", "q", ""],
  ["SIGTERM", " ", "timeout --foreground 1.5"],
])("--watch on a terminal fills the window, and restores it at the end: %s", async (_name, keys, before) => {
  await lab.node.output([BINARY, "run", "--once", `--config=${CONFIG}`]);
  const { exitCode, stdout } = await watched(keys, before);
  expect(exitCode).toBe(before === "" ? 0 : 124);
  const [first = "", rest = ""] = stdout.split("\x1b[?1049h\x1b[?25l");
  expect(first).toBe("");
  const [screen = "", end] = rest.split("\x1b[?25h\x1b[?1049l");
  expect(end).toBe(" icanon\r\n");
  const frames = screen.split("\x1b[H").slice(1);
  const lines = (frames[0] ?? "").replace("\x1b[J", "").split(/\r+\n/).map(Bun.stripANSI);
  expect(lines[0]).toMatch(/^ipmasq status {2}\d\d:\d\d:\d\d UTC {2}q: quit {2}space: refresh$/);
  expect(lines[1]).toBe("in force      yes, but no agent answers");
  expect(lines.length).toBeWithin(10, 13);
  expect(lines.filter(line => line.length > 60)).toEqual([]);
});

test("--watch compares with the config of the agent after the agent ended", async () => {
  const agent = lab.node.spawn([BINARY, `--config=${CONFIG}`], { stderr: "pipe" });
  await new Lines(agent.stderr).until("serving metrics and health");
  const watching = lab.node.spawn([BINARY, "status", "--watch", "--output=json"]);
  const lines = new Lines(watching.stdout);
  await lines.until('"from":"agent"');
  agent.kill();
  await agent.exited;
  const last = (await lines.until('"from":"kernel"')).at(-1) ?? "";
  expect(v.parse(Status, JSON.parse(last))).toMatchObject({ inSync: true, config: CONFIG });
  watching.kill();
  await watching.exited;
}, 10_000);
