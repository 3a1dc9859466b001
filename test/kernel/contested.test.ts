import { afterAll, beforeAll, expect, test } from "bun:test";
import { RunningAgent } from "../../lab/agent.ts";
import { Lab } from "../../lab/lab.ts";
import { WRITERS } from "../../lab/writers.ts";

/** Of each writer. `npm run test:faults` takes five minutes of each. */
const SECONDS = Number(process.env.CONTESTED_SECONDS ?? 6);
/** The bound that is promised, in milliseconds. */
const MOST_APART = 2000;

let lab: Lab;
beforeAll(async () => {
  lab = await Lab.create();
});
afterAll(() => lab.close());

const LIST: Readonly<Record<string, string>> = {
  nftables: "nft list chain ip ip-masq-agent IP-MASQ-AGENT",
  "iptables-nft": "nft list chain ip nat IP-MASQ-AGENT",
  "iptables-legacy": "iptables-legacy -w -t nat -S IP-MASQ-AGENT",
};

/** Flushes everything ten times a second, and says so when it found rules of ours. */
const flush = (writer: string) => `
while sleep 0.1; do
  case $(${LIST[writer]} 2>/dev/null) in *masquerade*|*MASQUERADE*) echo found;; esac
  ${writer === "iptables-legacy" ? "iptables-legacy -w -t nat -F" : "nft flush ruleset"}
done`;

const writers = process.env.CONTESTED_SECONDS ? WRITERS : WRITERS.slice(0, 1);
test.each(writers)(
  "rules that another program flushes ten times a second are back after two seconds each time: $name",
  async ({ name, flags, prepare }) => {
    await prepare(lab);
    const agent = await RunningAgent.started(lab.node, ["--config=/run/none", ...flags]);
    const flusher = lab.node.spawn(["sh", "-c", flush(name)]);
    let found: number[] = [];
    let end = Number.POSITIVE_INFINITY;
    void agent.log.until("rules are contested").then(() => {
      found = [];
      end = performance.now() + 1000 * SECONDS;
      setTimeout(() => flusher.kill("SIGKILL"), 1000 * SECONDS);
    });
    for await (const chunk of flusher.stdout) {
      const times = new TextDecoder().decode(chunk).split("\n").length - 1;
      for (let i = 0; i < times; i++) found.push(performance.now());
    }
    const gaps = [...found, end].slice(1).map((at, i) => at - (found[i] ?? 0));
    const longest = Math.max(...gaps);
    process.stderr.write(
      `${found.length} repairs in ${SECONDS} s, at most ${Math.round(longest)} ms apart\n`,
    );
    expect(longest).toBeLessThanOrEqual(MOST_APART);
    expect(found.length).toBeWithin(SECONDS / 2, 2 * SECONDS); // no more often than needed
    expect(await agent.end()).toBe(0);
    const later = (await agent.log.all()).filter(line => line.includes("WARN"));
    expect(later).toEqual([]);
  },
  1000 * SECONDS + 60_000,
);
