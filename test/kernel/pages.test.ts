/**
 * Runs every block of commands in the README and the docs on the node of a lab, and compares the outputs that the
 * pages quote. `…` in a page stands for any text, and times, PIDs and versions may differ.
 */
import { afterAll, afterEach, beforeAll, expect, test } from "bun:test";
import { mkdir, rm, symlink, writeFile } from "node:fs/promises";
import { dirname, join, resolve } from "node:path";
import { parse } from "yaml";
import { BINARY, RunningAgent } from "../../lab/agent.ts";
import { output } from "../../lab/output.ts";
import { scripts, version } from "../../package.json";
import { KEY_NAMES } from "../../src/config/keys.ts";
import { debianTools } from "../debian/tools.ts";
import { helm } from "../deploy/helm.ts";
import { kubernetesRelease } from "../deploy/kubernetes.ts";
import { labPerFile } from "../lab.ts";
import {
  type Block,
  blocksOf,
  codeOf,
  isSession,
  programsOf,
  RUN_PAGES,
  scriptOf,
  sessionOf,
} from "../pages/blocks.ts";
import { ELSEWHERE, SCENES, type Scene } from "../pages/scenes.ts";
import { absent } from "../programs.ts";

const ROOT = join(import.meta.dir, "../..");
/** lab/isolate mounts an empty /run. */
const HOME = "/run/pages";
const WORK = `${HOME}/ipmasq`;
const CONFIG = "/etc/config/ip-masq-agent";

/** Programs that the tests cannot run, except as in `OFFLINE`. The commands of ipmasq that they run in a container are run on the node. */
const NOT_RUN: Readonly<Record<string, string>> = {
  kubectl: "needs a cluster",
  docker: "needs a registry",
  cosign: "needs a release",
  apt: "installs packages",
  systemctl: "needs systemd",
  "systemd-tmpfiles": "needs systemd",
  "deploy/systemd/install": "installs; test/deploy/systemd.test.ts runs it",
};

/** The same without a cluster: what a command would apply. */
const OFFLINE: readonly (readonly [command: RegExp, offline: string])[] = [
  [/^helm install /, "helm template "],
  [/^kubectl apply -k /, "kubectl kustomize "],
  [/^kubectl create configmap .*/, "$& --dry-run=client --output=yaml"],
];

const [tools, helmProgram, kubernetes] = await Promise.all([
  debianTools("trixie"),
  helm(),
  kubernetesRelease("forky"),
]);
if ("missing" in tools) absent(tools.missing);
else if (typeof helmProgram !== "string") absent(helmProgram.missing);
else if ("missing" in kubernetes) absent(kubernetes.missing);
else await run(tools.wrapper, { helm: [helmProgram], kubectl: kubernetes.kubectl });

async function run(wrapper: string, programs: Readonly<Record<string, readonly string[]>>): Promise<void> {
  const blocks = (await Promise.all(RUN_PAGES.map(blocksOf))).flat();
  const lab = labPerFile();
  const path = `${HOME}/bin:${wrapper}:${process.env.PATH}`;
  let agent: RunningAgent | undefined;

  beforeAll(async () => {
    await mkdir(`${HOME}/bin`, { recursive: true });
    await symlink(BINARY, `${HOME}/bin/ipmasq`);
    for (const [name, argv] of Object.entries({ sudo: [], ...programs })) {
      await writeFile(`${HOME}/bin/${name}`, `#!/bin/sh\nexec ${argv.join(" ")} "$@"\n`, { mode: 0o755 });
    }
    // Files in /etc/config exist only in the namespaces of this file.
    for (const folder of ["etc", "etc.work"]) await mkdir(`${HOME}/${folder}`);
    const layers = `lowerdir=/etc,upperdir=${HOME}/etc,workdir=${HOME}/etc.work`;
    await output(["mount", "-t", "overlay", "-o", layers, "overlay", "/etc"]);
    // The router of the pages has a host with this address behind it.
    await lab.addPodAddress("192.168.1.2");
    // iptables looks up names.
    await writeFile("/etc/nsswitch.conf", "hosts: files\n");
  });
  afterAll(() => output(["umount", "/etc"]));
  afterEach(async () => {
    await agent?.end("SIGKILL");
    agent = undefined;
    await lab.node.output(["sh", "-ec", "nft flush ruleset; conntrack -F"]);
    await rm(dirname(CONFIG), { recursive: true, force: true });
    await rm(WORK, { recursive: true, force: true });
  });

  async function prepare(scene: Scene): Promise<void> {
    const { page, config, files = {}, blocks: quotes = {}, foreign, agent: flags, before = [] } = scene;
    await mkdir(WORK, { recursive: true });
    for (const name of ["dist", "deploy", "docs"]) await symlink(join(ROOT, name), join(WORK, name));
    for (const [name, text] of Object.entries(files)) await Bun.write(join(WORK, name), text);
    for (const [name, line] of Object.entries(quotes)) {
      const block = blocks.find(it => it.page === page && it.lines[0] === line);
      await Bun.write(resolve(WORK, name), `${block?.lines.join("\n")}\n`);
    }
    if (config !== undefined) await Bun.write(CONFIG, config);
    if (foreign !== undefined)
      await lab.node.output(["env", `PATH=${path}`, "iptables-restore"], { input: natTable(foreign) });
    if (flags !== undefined) {
      agent = RunningAgent.start(
        lab.node,
        [`--config=${CONFIG}`, "--listen=127.0.0.1:9469", ...(flags === true ? [] : flags)],
        ["env", `PATH=${path}`, BINARY],
      );
      await agent.log.until("rules applied");
    }
    for (const command of before) await exits(command, scene);
  }

  /** Runs a command that must exit as in the scene, and returns its output. */
  async function exits(command: string, { exits = {} }: Scene, first = path): Promise<string> {
    // The shell prints the exit code, because `run` drops the output of a program that crashes.
    const script = `cd ${WORK} && exec 2>&1\n${command}\necho "exit $?"`;
    const printed = await lab.node.output(["env", `PATH=${first}`, "sh", "-c", script]);
    const [, stdout = "", exitCode = ""] = /^(.*)exit (\d+)\n$/s.exec(printed) ?? [];
    expect({ command, exitCode, stdout }).toMatchObject({ exitCode: String(exits[command] ?? 0) });
    return stdout;
  }

  const named = (block: Block) => `${block.page}:${block.line}: ${first(block)}`;
  const sessions = blocks.filter(block => isSession(block) && !isElsewhere(block));
  test.each(sessions.map(block => [named(block), block] as const))("%s", async (_, block) => {
    const scene = sceneOf(block);
    const quotes = sessionOf(block).filter(({ command }) => runnable(command).length > 0);
    if (quotes.length > 0) await prepare(scene);
    const found = scene.nft === undefined ? path : await pathOf(scene.nft);
    for (const { command, output } of quotes) expectQuoted(output, await exits(command, scene, found), scene);
  });

  const ran = new Set<string>();
  const scripted = blocks.flatMap(block => {
    const commands = isSession(block) ? undefined : scriptOf(block);
    return commands === undefined ? [] : [[named(block), block, commands] as const];
  });
  test.each(scripted)("%s", async (_, block, commands) => {
    const scene = sceneOf(block);
    // Several pages have the same commands for the defaults.
    const isNew = (part: string) => SCENES.includes(scene) || !ran.has(part);
    const parts = commands.flatMap(runnable).filter(isNew);
    for (const part of parts) ran.add(part);
    if (parts.length > 0) await prepare(scene);
    for (const part of parts) {
      if (part === scene.stays) await ends(part);
      else await exits(part, scene);
    }
    for (const { from, to, owner } of scene.seen ?? []) {
      expect(await lab.ownerSeen({ protocol: "tcp", from, to })).toBe(owner);
    }
  });

  /** Runs an agent until its rules are in force. */
  async function ends(command: string): Promise<void> {
    const argv = ["env", `PATH=${path}`, "sh", "-c", `cd ${WORK} && exec ${command}`];
    const started = RunningAgent.start(lab.node, [], argv);
    await started.log.until("policy in force");
    expect(await started.end()).toBe(0);
  }

  const printed = SCENES.filter(scene => scene.printedBy !== undefined);
  test.each(printed.map(scene => [`${scene.page}: ${scene.block}`, scene] as const))(
    "%s",
    async (_, scene) => {
      const block = blocks.find(it => isOf(scene, it));
      await prepare(scene);
      const text = await exits(scene.printedBy ?? "", scene);
      expectQuoted(["…", ...(block?.lines ?? []), "…"], text, scene);
    },
  );

  test("every other block is a config, a file or a log line", () => {
    const others = blocks.filter(block => !isSession(block) && scriptOf(block) === undefined);
    const unknown = others.filter(block => !isElsewhere(block) && !printed.some(it => isOf(it, block)));
    expect(unknown.filter(block => !isData(block)).map(named)).toEqual([]);
  });

  test("every scene has its block, and every program that is not run is in a page", () => {
    expect(
      SCENES.filter(it => !blocks.some(block => isOf(it, block))).map(it => `${it.page}: ${it.block}`),
    ).toEqual([]);
    const programs = new Set(
      blocks.flatMap(block =>
        (scriptOf(block) ?? sessionOf(block).map(it => it.command)).flatMap(programsOf),
      ),
    );
    expect(Object.keys(ELSEWHERE).filter(key => !blocks.some(block => isElsewhere(block, key)))).toEqual([]);
    expect(Object.keys(NOT_RUN).filter(name => !programs.has(name))).toEqual([]);
  });
}

/** The parts of a command that can be run. */
function runnable(command: string): string[] {
  const [, inside] = / exec \S+ -- (.*)/.exec(command) ?? [];
  if (inside !== undefined) return [inside];
  if (programsOf(command).includes("npm")) {
    const [, script = ""] = /npm (?:run )?(\S+)/.exec(command) ?? [];
    expect(Object.keys(scripts)).toContain(script);
    return [];
  }
  const offline = OFFLINE.find(([pattern]) => pattern.test(command));
  if (offline) return [command.replace(...offline)];
  return programsOf(command).some(name => name in NOT_RUN) ? [] : [command];
}

/** The first command of a block, or its first line. */
function first(block: Block): string {
  return (isSession(block) ? sessionOf(block)[0]?.command : block.lines[0]) ?? "";
}

function isOf(scene: Scene, block: Block): boolean {
  const { page, block: start, line = start } = scene;
  const [wanted, found] = [start, first(block)].map(text => codeOf({ lines: [text] }));
  return (
    page === block.page &&
    wanted === found &&
    codeOf(block)
      .split("\n")
      .some(it => it.endsWith(codeOf({ lines: [line] })))
  );
}

/** Whether the block is one of `ELSEWHERE`. */
function isElsewhere({ page, lines }: Block, ...keys: string[]): boolean {
  return (keys.length > 0 ? keys : Object.keys(ELSEWHERE)).some(key =>
    lines.some(line => `${page}: ${line}`.startsWith(key)),
  );
}

/** A PATH with the nft of a Debian release. */
async function pathOf(suite: string): Promise<string> {
  const tools = await debianTools(suite);
  if ("missing" in tools) throw new Error(tools.missing);
  return `${tools.wrapper}:${process.env.PATH}`;
}

function sceneOf(block: Block): Scene {
  return SCENES.find(it => isOf(it, block)) ?? { page: block.page, block: first(block), agent: true };
}

function isData({ lines }: Block): boolean {
  if (/^(?:ERROR|WARN|INFO) /.test(lines[0] ?? "") || JUDGED.test(lines[0] ?? "")) return true;
  if (lines.includes("[Unit]")) return lines.every(line => UNIT_LINE.test(line));
  const value: unknown = parse(lines.join("\n"), { logLevel: "silent" });
  const keys = new Set<string>([...KEY_NAMES, ...FILES]);
  return typeof value === "object" && value !== null && Object.keys(value).every(key => keys.has(key));
}

/** A comment, a section or a setting of a systemd unit. */
const UNIT_LINE = /^(?:#.*|\[[A-Z]\w+\]|[A-Z]\w+=.+)$/;

/** Keys of test files, kustomizations, values of the chart and Prometheus' config. */
const FILES = ["config", "tests", "resources", "components", "images", "image", "flags", "scrape_configs"];

function natTable(rules: string): string {
  const chains = new Set(Array.from(rules.matchAll(/^-A (\S+)/gm), ([, chain = ""]) => chain));
  chains.delete("POSTROUTING");
  return ["*nat", ...[...chains].map(chain => `:${chain} - [0:0]`), rules.trim(), "COMMIT", ""].join("\n");
}

/** The first line of many commands, which the pages leave out. */
const JUDGED = /^ipmasq: judged by /;

/** Expects an output as a page quotes it. */
function expectQuoted(lines: readonly string[], printed: string, { counts, anyOrder }: Scene): void {
  const ordered = (all: readonly string[]) => (anyOrder === true ? all.toSorted() : all).join("\n");
  const wanted = plain(ordered(lines), counts === true);
  const actual = plain(ordered(printed.split("\n").filter(line => !JUDGED.test(line))), counts === true);
  const pattern = wanted.split(/ ?… ?/).map(RegExp.escape).join(".*");
  if (!new RegExp(`^${pattern}$`).test(actual)) expect(actual).toBe(wanted);
}

/** A text with placeholders for times, PIDs and versions, and one space for each gap. */
function plain(text: string, counts: boolean): string {
  const common = text
    .replaceAll(version, "VERSION")
    .replaceAll(/\d{4}-\d\d-\d\d[T ][\d:.]+(?:Z| UTC)/g, "TIME")
    .replaceAll(/\bpid \d+/g, "pid PID")
    .replaceAll(/packets \d+ bytes \d+/g, "packets N bytes N")
    .replaceAll(/\(\d+ pieces\)/g, "(N pieces)")
    .replaceAll(/\s+/g, " ")
    .trim();
  return counts ? common.replaceAll(/(?<=[ (]|^)\d[\d.,]*(?= |$|;)/g, "N") : common;
}
