import { afterAll, beforeAll, expect, test } from "bun:test";
import { mkdir, readFile, writeFile } from "node:fs/promises";
import * as v from "valibot";
import { BINARY } from "../../../lab/agent.ts";
import { output } from "../../../lab/output.ts";
import { Connections } from "../../../src/inspect/connections.ts";
import { freshFolder } from "../../lab.ts";

/** lab/isolate mounts an empty /run. The network namespace of the test has a table for itself. */
const FOLDER = "/run/connections";
const CONFIG = `${FOLDER}/ip-masq-agent`;
const LIMIT = Number(await readFile("/proc/sys/net/netfilter/nf_conntrack_max", "utf8"));
const WANTED = Number(process.env.CONNECTIONS ?? 1_000_000);
/** The kernel allows the limit of the machine in every network namespace. */
const COUNT = Math.min(WANTED, LIMIT - 1000);
/** A table that is smaller than wanted is listed so many times, as one list. */
const PASSES = Math.ceil(WANTED / COUNT);
/** A folder with a `conntrack` that lists the table repeatedly. */
const REPEATING = `${FOLDER}/bin`;
const MIB = 1024 * 1024;
/** The maximum memory of the command, without the pages of the binary. */
const MOST_BYTES = 100 * MIB;

/** Connection i: every third is masqueraded, every second goes to a kept destination, and every tenth is IPv6. */
function connection(i: number): {
  readonly kept: boolean;
  readonly masqueraded: boolean;
  readonly line: string;
} {
  const [masqueraded, kept] = [i % 3 === 0, i % 2 === 0];
  const [high, low] = [(i >> 8) & 255, i & 255];
  const isIPv6 = i % 10 === 0;
  const host = isIPv6 ? `${high.toString(16)}:${low.toString(16)}` : `${high}.${low}`;
  const source = isIPv6 ? `fd00::${host}` : `10.244.${host}`;
  const destination = isIPv6
    ? `${kept ? "fd00:1" : "2001:db8"}::${host}`
    : `${kept ? "10.1" : "203.0"}.${host}`;
  const seen = masqueraded ? (isIPv6 ? "2001:db8:ffff::1" : "198.51.100.2") : source;
  const port = 1024 + (i >> 4);
  const state = i % 5 === 0 ? "-p udp" : "-p tcp --state ESTABLISHED";
  const line = `-I -s ${source} -d ${destination} -r ${destination} -q ${seen} ${state} --sport ${port} --dport 443 --reply-port-src 443 --reply-port-dst ${port} -t 3600 -u SEEN_REPLY,ASSURED`;
  return { kept, masqueraded, line };
}

const expected = { stale: 0, masqueraded: 0 };

beforeAll(async () => {
  await freshFolder(FOLDER, {
    "ip-masq-agent": "nonMasqueradeCIDRs: [10.0.0.0/8, fd00::/8]\nenableIPv6: true\n",
  });
  const list = `#!/bin/sh
for pass in $(seq ${PASSES}); do PATH=\${PATH#*:} conntrack "$@" || exit; done
`;
  await mkdir(REPEATING);
  await writeFile(`${REPEATING}/conntrack`, list, { mode: 0o755 });
  // A file, because conntrack opens /dev/stdin, and Bun's pipes are sockets, which cannot be opened.
  const file = Bun.file(`${FOLDER}/table`).writer();
  for (let i = 0; i < COUNT; i++) {
    const { kept, masqueraded, line } = connection(i);
    if (masqueraded) expected.masqueraded++;
    if (kept === masqueraded) expected.stale++;
    file.write(`${line}\n`);
    if (i % 1000 === 0) await file.flush();
  }
  await file.end();
  await output(["sh", "-c", 'conntrack --load-file "$0" >/dev/null', `${FOLDER}/table`]);
  expect(await entries()).toBe(COUNT);
}, 300_000);
afterAll(async () => {
  await output(["conntrack", "-F"]);
});

async function entries(): Promise<number> {
  return Number(await output(["conntrack", "-C"]));
}

interface Answer {
  readonly stdout: string;
  readonly cost: string;
}

/** Runs the command on all passes over the table. */
function connections(...flags: string[]): Promise<Answer> {
  return measured(["env", `PATH=${REPEATING}:${process.env.PATH}`, ...COMMAND, ...flags]);
}

const COMMAND = [BINARY, "connections", `--config=${CONFIG}`];

/** Runs a command, checks its memory, and returns its output and costs. */
async function measured(argv: readonly string[]): Promise<Answer> {
  const began = performance.now();
  const child = Bun.spawn([...argv], { stdout: "pipe", stderr: "pipe" });
  let bytes = 0;
  const samples = setInterval(async () => {
    const text = await readFile(`/proc/${child.pid}/status`, "utf8").catch(() => "");
    bytes = Math.max(bytes, 1024 * Number(/^RssAnon:\s*(\d+)/m.exec(text)?.[1] ?? 0));
  }, 10);
  const [stdout, stderr] = await Promise.all([child.stdout.text(), child.stderr.text()]);
  clearInterval(samples);
  expect(stderr).toBe("");
  expect(await child.exited).toBe(0);
  const usage = child.resourceUsage();
  expect(bytes).toBeWithin(MIB, MOST_BYTES);
  const cpu = (Number(usage?.cpuTime.total ?? 0) / 1e6).toFixed(1);
  const seconds = ((performance.now() - began) / 1000).toFixed(1);
  return { stdout, cost: `${seconds} s, ${cpu} s of CPU with conntrack, ${Math.round(bytes / MIB)} MiB` };
}

function report(count: number, what: string, cost: string): void {
  process.stdout.write(`${count} entries, ${what}: ${cost}\n`);
}

const ALL = COUNT * PASSES;

test(`counts ${ALL} connections`, async () => {
  const { stdout, cost } = await connections("--output=json");
  report(ALL, "summary", cost);
  const { cidrs, stale } = v.parse(Connections, JSON.parse(stdout));
  const sum = (of: (row: Connections["cidrs"][number]) => number) =>
    cidrs.reduce((all, row) => all + of(row), 0);
  expect(sum(it => it.kept + it.masqueraded)).toBe(ALL);
  expect(sum(it => it.masqueraded)).toBe(PASSES * expected.masqueraded);
  expect(stale.tcp + stale.udp).toBe(PASSES * expected.stale);
}, 120_000);

test("finds the busiest destinations among more than it can count", async () => {
  const { stdout, cost } = await connections("--ports");
  report(ALL, "--ports", cost);
  expect(stdout).toContain("1024-65535");
}, 120_000);

test("lists and forgets those that contradict the policy", async () => {
  const { stdout, cost } = await connections("--stale");
  report(ALL, "--stale", cost);
  expect(stdout.match(/\n/g)?.length).toBe(PASSES * expected.stale);
  const forgotten = await measured([...COMMAND, "--forget-stale"]);
  report(COUNT, "--forget-stale", forgotten.cost);
  expect(forgotten.stdout).toStartWith(`Deleted ${expected.stale} conntrack entries`);
  expect(await entries()).toBe(COUNT - expected.stale);
  expect((await connections("--stale")).stdout).toBe("No connection is stale.\n");
}, 240_000);
