/** The time until verdicts are right again after a change of the config, and after a flush of the rules. */
import { mkdir } from "node:fs/promises";
import { RunningAgent } from "../../lab/agent.ts";
import { Lab } from "../../lab/lab.ts";
import { save } from "../../lab/save.ts";
import { WRITERS, type Writer } from "../../lab/writers.ts";
import { saveConfig } from "../baselines/ipmasq.ts";
import { defineCase } from "../case.ts";
import { addressIn, cidrs, inWords, OUTBOUND } from "../cidrs.ts";
import { duration, quantile } from "../figure.ts";

const FOLDER = "/run/reaction";
const CONFIG = `${FOLDER}/ip-masq-agent`;
const ROUNDS = 200;
/** With iptables the agent works the same way. */
const IPTABLES_ROUNDS = 60;
/** The kernel reports no changes of iptables-legacy, so the agent polls. */
const LEGACY_ROUNDS = 4;
/** After more repairs within 10 s the agent takes the rules for contested, and slows down. */
const REPAIRS_OF_AN_AGENT = 4;
const PROBE = { protocol: "udp", to: OUTBOUND } as const;
const LONG_LISTS = [10_000, 45_000];
const LONG_ROUNDS = 12;
/** The agent's chain names the set in force. An older one may still be there. */
const DELETE_ELEMENT =
  'set=$(nft list chain ip ip-masq-agent IP-MASQ-AGENT | grep -o "non-masquerade-[a-z]"); nft "delete element ip ip-masq-agent $set { 10.0.0.0/28 }"';

/** Times in ms. */
interface Raw {
  readonly writers: Record<string, { readonly config: number[]; readonly flush: number[] }>;
  readonly longLists: readonly {
    readonly size: number;
    readonly element: number[];
    readonly flush: number[];
  }[];
}

export const reaction = defineCase<Raw>("Reaction", measure, ({ writers, longLists }) => {
  const ms = (value: number) => `${Math.round(value)} ms`;
  const both = (...all: readonly number[][]) =>
    all.flatMap(times => [ms(quantile(times, 0.5)), ms(quantile(times, 0.99))]);
  const target = (what: string, peer: string, times: readonly number[] = []) => ({
    what,
    peer,
    marks: [{ value: quantile(times, 0.99) / 1000, must: 0.05, aim: 0.04, show: duration }],
  });
  return {
    how: `How long do connections get the old or a wrong verdict? A config with 64 CIDRs is saved by rename: time is measured until a UDP connection gets the new verdict. The rules are flushed: time is measured from the start of the flushing program until a connection gets the right verdict again. A connection is tried every 0.4 to 1 ms. ${ROUNDS} rounds each, ${IPTABLES_ROUNDS} with iptables, ${LEGACY_ROUNDS} for the flush of iptables-legacy, whose changes the agent finds by polling. ip-masq-agent reacts at its next resync, up to 60 s later by default. With long lists, the time begins when the program that deletes an element or flushes the rules ends; ${LONG_ROUNDS} rounds each.`,
    tables: [
      {
        columns: ["", "config saved, median", "99th percentile", "rules flushed, median", "99th percentile"],
        rows: Object.entries(writers).map(([name, { config, flush }]) => [name, ...both(config, flush)]),
      },
      {
        columns: ["nftables", "element deleted, median", "longest", "rules flushed, median", "longest"],
        rows: longLists.map(({ size, element, flush }) => [inWords(size), ...both(element, flush)]),
      },
    ],
    targets: [
      target(
        "config saved to rules in force, 64 CIDRs, 99th percentile",
        "30 s on average",
        writers.nftables?.config,
      ),
      target("rules flushed to rules in force again, 99th percentile", "up to 60 s", writers.nftables?.flush),
    ],
  };
});

async function measure(): Promise<Raw> {
  await mkdir(FOLDER, { recursive: true });
  const writers: Raw["writers"] = {};
  for (const writer of WRITERS) {
    await using lab = await Lab.create();
    await writer.prepare(lab);
    writers[writer.name] = { config: await edits(lab, writer), flush: await flushes(lab, writer) };
  }
  const longLists: Raw["longLists"][number][] = [];
  for (const size of LONG_LISTS) longLists.push({ size, ...(await repairs(size)) });
  return { writers, longLists };
}

function rounds({ name }: Writer): number {
  return name === "nftables" ? ROUNDS : IPTABLES_ROUNDS;
}

async function edits(lab: Lab, writer: Writer): Promise<number[]> {
  await save(CONFIG, configWith(false));
  const agent = await RunningAgent.started(lab.node, [`--config=${CONFIG}`, ...writer.flags]);
  const times: number[] = [];
  for (let i = 0; i < rounds(writer); i++) {
    const kept = i % 2 === 0;
    await Bun.sleep(50 + 50 * Math.random());
    const began = performance.now();
    await save(CONFIG, configWith(kept));
    await lab.ownerBecomes(PROBE, kept ? "pod" : "node");
    times.push(performance.now() - began);
  }
  await agent.end();
  return times;
}

async function flushes(lab: Lab, writer: Writer): Promise<number[]> {
  const legacy = writer.name === "iptables-legacy";
  const flush = legacy ? ["iptables-legacy", "-t", "nat", "-F"] : ["nft", "flush", "ruleset"];
  const times: number[] = [];
  let agent: RunningAgent | undefined;
  for (let i = 0; i < (legacy ? LEGACY_ROUNDS : rounds(writer)); i++) {
    if (i % REPAIRS_OF_AN_AGENT === 0) {
      await agent?.end();
      await writer.prepare(lab);
      agent = RunningAgent.start(lab.node, [`--config=${CONFIG}`, ...writer.flags]);
      await agent.log.until("policy in force");
      await lab.ownerBecomes(PROBE, "node");
    }
    await Bun.sleep(50 + 50 * Math.random());
    const began = performance.now();
    await lab.node.output(flush);
    await lab.ownerBecomes(PROBE, "node");
    times.push(performance.now() - began);
  }
  await agent?.end();
  return times;
}

async function repairs(size: number): Promise<{ element: number[]; flush: number[] }> {
  await using lab = await Lab.create();
  await saveConfig(cidrs(size), FOLDER);
  const times = { element: [] as number[], flush: [] as number[] };
  let agent: RunningAgent | undefined;
  for (let i = 0; i < 2 * LONG_ROUNDS; i++) {
    if (i % REPAIRS_OF_AN_AGENT === 0) {
      await agent?.end();
      await lab.node.output(["nft", "flush", "ruleset"]);
      agent = await RunningAgent.started(lab.node, [`--config=${CONFIG}`, "--backend=nftables"]);
    }
    // After its first sync, an agent still compares in the background.
    await Bun.sleep(2000 + 500 * Math.random());
    const isElement = i % 2 === 0;
    await lab.node.output(isElement ? ["sh", "-c", DELETE_ELEMENT] : ["nft", "flush", "ruleset"]);
    const began = performance.now();
    await lab.ownerBecomes(
      { protocol: "udp", to: isElement ? addressIn(0) : OUTBOUND },
      isElement ? "pod" : "node",
    );
    times[isElement ? "element" : "flush"].push(performance.now() - began);
  }
  await agent?.end();
  return times;
}

/** 64 CIDRs, with or without the probed address. */
function configWith(probe: boolean): string {
  const cidrs = Array.from({ length: 63 }, (_, i) => `10.${i}.0.0/16`);
  return `nonMasqueradeCIDRs:\n${[...cidrs, probe ? "203.0.113.0/24" : "192.0.2.0/24"].map(cidr => `  - ${cidr}\n`).join("")}`;
}
