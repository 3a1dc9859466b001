import { expect } from "bun:test";
import type { Deployment } from "./deployment.ts";
import type { Counts } from "./pods.ts";
import type { World } from "./world.ts";

/** New connections per second under load. */
const RATE = 200;

export type Owner = "pod" | "node" | "no address";

/** The connections of a load. */
export interface Outcome {
  readonly connections: number;
  readonly wrong: number;
  readonly failed: number;
}

/** The addresses that servers see. */
export class Verdicts {
  /** The addresses of the client. */
  #client: readonly string[] = [];
  /** The outcomes of all loads, by the event. */
  readonly outcomes: Record<string, Outcome> = {};

  readonly #world: World;
  readonly #deployment: Deployment;

  constructor(world: World, deployment: Deployment) {
    this.#world = world;
    this.#deployment = deployment;
  }

  /** Must be called when the client is new. */
  async clientStarted(): Promise<void> {
    this.#client = await this.#world.pods.addresses("client");
  }

  /** The owner of the address that a server sees. */
  async owner(server: string): Promise<Owner> {
    return this.#ownerOf(await this.#world.pods.seen("client", server));
  }

  /** Waits until the servers see these owners: that of the kept and that of the masqueraded server. */
  async become(kept: Owner, outbound: Owner): Promise<void> {
    const owners = () => Promise.all([this.#world.kept, this.#world.outbound].map(it => this.owner(it)));
    for (let left = 60; left > 0; left--) {
      if (Bun.deepEquals(await owners(), [kept, outbound])) return;
      await Bun.sleep(100);
    }
    expect(await owners(), await this.#deployment.log()).toEqual([kept, outbound]);
  }

  /** Opens connections during an action. None may have a wrong address, or none at all. */
  async during(what: string, action: () => Promise<void>): Promise<void> {
    const { pods, kept, outbound } = this.#world;
    const load = await pods.load("client", RATE, [kept, outbound]);
    await Bun.sleep(1000);
    await action();
    await Bun.sleep(1000);
    const outcome = this.#judge(await load.stop());
    this.outcomes[what] = outcome;
    expect(outcome).toMatchObject({ wrong: 0, failed: 0 });
    expect(outcome.connections).toBeGreaterThan(RATE);
  }

  /** Fails unless the node has no rule of ipmasq. */
  async nothingLeft(): Promise<void> {
    await this.become("pod", "pod");
    const { own } = this.#world;
    if (own === undefined) return;
    const rules = await own.lab.node.output(["sh", "-c", "nft list ruleset; iptables-legacy-save"]);
    expect(rules).not.toMatch(/ip-?masq/i);
  }

  #ownerOf(seen: string): Owner {
    if (this.#client.includes(seen)) return "pod";
    return /^[0-9a-f.:]+$/.test(seen) ? "node" : "no address";
  }

  #judge(counts: Counts): Outcome {
    const outcome = { connections: 0, wrong: 0, failed: 0 };
    const right: Record<string, Owner> = { [this.#world.kept]: "pod", [this.#world.outbound]: "node" };
    for (const [server, addresses] of Object.entries(counts)) {
      for (const [seen, count] of Object.entries(addresses)) {
        const owner = this.#ownerOf(seen);
        outcome.connections += count;
        if (owner === "no address") outcome.failed += count;
        else if (owner !== right[server]) outcome.wrong += count;
      }
    }
    return outcome;
  }
}
