import { everyBackend } from "../backends/choose.ts";
import type { Log } from "../observe/log.ts";

/**
 * Of an abstract Unix socket. Each network namespace has such names of its own, as it has rules, whatever containers
 * share it; and with its process a name is free again.
 */
const NAME = "\0ipmasq";

/**
 * Two agents on one node would each undo what the other one writes. So one works, which is known by its having the name,
 * and others stand by until it ends.
 *
 * The name can be taken by anybody on the node. Who has it for a whole resync interval while no rules of ours are there,
 * whoever made them, is not waited for.
 */
export class Claim {
  #name: { stop(): void } | undefined;
  /** Whether another agent is at work in this one's place. */
  standsBy = false;
  /** When somebody else was first seen to have it, in milliseconds. */
  #since: number | undefined;
  /** Whether this one works without the name. */
  #nameless = false;
  #looks: Timer | undefined;

  /** @param freed is called when this one stood by and may work now */
  constructor(
    readonly log: Log,
    readonly freed: () => void,
  ) {}

  /**
   * To be called before rules are written. Throws Error while another agent is at work, and what reading rules throws.
   *
   * @param patience the resync interval, in milliseconds
   */
  async take(patience: number): Promise<void> {
    if (this.#nameless || this.#isOurs()) return;
    this.#since ??= performance.now();
    this.#looks ??= setInterval(() => this.#look(), LOOK_MS);
    this.standsBy = true;
    if (performance.now() - this.#since < patience || (await areThereRules())) throw new Error(STANDS_BY);
    this.#nameless = true;
    this.standsBy = false;
    this.log.warn("whoever is at work in this one's place keeps no rules, and is not waited for any longer");
  }

  /** Leaves the node to others. */
  stop(): void {
    clearInterval(this.#looks);
    this.#name?.stop();
    this.#name = undefined;
  }

  #look(): void {
    if (!this.#isOurs()) return;
    clearInterval(this.#looks);
    if (this.#nameless) return;
    this.standsBy = false;
    this.log.info("the other ipmasq has ended");
    this.freed();
  }

  /** Whether the name is ours, from now on if it is free. Where there are no such names nobody is kept from working. */
  #isOurs(): boolean {
    try {
      this.#name ??= Bun.listen({ unix: NAME, socket: { open: visitor => void visitor.end(), data() {} } });
      return true;
    } catch (error) {
      return !(error instanceof Error && "code" in error && error.code === "EADDRINUSE");
    }
  }
}

const STANDS_BY =
  "another ipmasq is at work on this node, and this one stands by; remove one of the two: ss -xlp | grep @ipmasq shows who is at work";
/** A look takes 4 µs. */
const LOOK_MS = 500;

async function areThereRules(): Promise<boolean> {
  const held = (await everyBackend()).map(backend => backend.held());
  return (await Promise.all(held)).flat().length > 0;
}
