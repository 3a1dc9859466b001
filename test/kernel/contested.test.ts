import { expect, test } from "bun:test";
import { RunningAgent } from "../../lab/agent.ts";
import { WRITERS } from "../../lab/writers.ts";
import { labPerTest } from "../lab.ts";

/** Duration per writer. `npm run test:faults` sets five minutes. */
const SECONDS = Number(process.env.CONTESTED_SECONDS ?? 6);
/** The longest interval between repairs, in milliseconds. */
const MOST_APART = 2000;

const lab = labPerTest();

/** Commands that print the rules and flush them, almost without a gap in between. */
const LIST_AND_FLUSH: Readonly<Record<string, string>> = {
  nftables: "printf 'list ruleset\\nflush ruleset\\n' | nft -i",
  "iptables-nft": "printf 'list ruleset\\nflush ruleset\\n' | nft -i",
  "iptables-legacy":
    "flock /run/xtables.lock sh -c 'export XTABLES_LOCKFILE=/run/other.lock; iptables-legacy -t nat -S; iptables-legacy -t nat -F'",
};

/** Flushes all rules ten times a second, and prints each time whether ipmasq's rules existed. */
const flush = (writer: string) => `
while sleep 0.1; do
  case $(${LIST_AND_FLUSH[writer]} 2>/dev/null) in *masquerade*|*MASQUERADE*) echo found;; *) echo none;; esac
done`;

const writers = process.env.CONTESTED_SECONDS ? WRITERS : WRITERS.slice(0, 1);
test.each(writers)(
  "rules that another program flushes ten times a second are back within two seconds each time: $name",
  async ({ name, flags, prepare }) => {
    await prepare(lab);
    const agent = await RunningAgent.started(lab.node, ["--config=/run/none", ...flags]);
    const flusher = lab.node.spawn(["sh", "-c", flush(name)]);
    const gaps = new Gaps();
    let contested = false;
    void agent.log.until("rules are contested").then(() => {
      contested = true;
      setTimeout(() => flusher.kill("SIGKILL"), 1000 * SECONDS);
    });
    for await (const chunk of flusher.stdout) {
      for (const word of new TextDecoder().decode(chunk).split("\n")) {
        if (contested && word !== "") gaps.add(word === "found");
      }
    }
    const longest = gaps.longest();
    process.stderr.write(`${gaps.found} repairs in ${SECONDS} s, at most ${longest} ms apart\n`);
    expect(longest).toBeLessThanOrEqual(MOST_APART);
    expect(gaps.found).toBeWithin(SECONDS / 3, 2 * SECONDS); // not more often than needed
    expect(await agent.end()).toBe(0);
    const later = (await agent.log.all()).filter(line => /WARN|ERROR/.test(line));
    expect(later).toEqual([]);
  },
  1000 * SECONDS + 60_000,
);

/** The duration of a flush, in milliseconds. Longer ones waited for the CPU, as the agent did, and count as this. */
const ROUND_MS = 200;

/** How long the rules were missing, in rounds of the flusher. */
class Gaps {
  found = 0;
  #last = performance.now();
  #gap = 0;
  #longest = 0;

  add(found: boolean): void {
    const now = performance.now();
    this.#gap += Math.min(now - this.#last, ROUND_MS);
    this.#last = now;
    this.#longest = Math.max(this.#longest, this.#gap);
    if (!found) return;
    this.found++;
    this.#gap = 0;
  }

  longest(): number {
    return Math.round(this.#longest);
  }
}
