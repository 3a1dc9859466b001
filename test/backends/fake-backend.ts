import type { Backend, Plan, Watcher } from "../../src/backends/backend.ts";
import type { Chosen } from "../../src/backends/choose.ts";
import { MigratingBackend } from "../../src/backends/migrating-backend.ts";
import { FAMILIES, type Family } from "../../src/net/cidr.ts";
import type { Policy } from "../../src/policy/policy.ts";
import { type FailureKind, ProgramError } from "../../src/system/program.ts";

/** A backend with rules in memory instead of a kernel, and a program that fails when a test wants. */
export class FakeBackend implements Backend {
  /** The rules of each family, as one line. */
  readonly kernel = new Map<Family, string>();
  readonly fails = new Map<Family, FailureKind>();
  readonly watchers: Watcher[] = [];
  /** Milliseconds that its program takes to read or write rules. */
  took = 0;
  /** Delays the search for leftovers, and the removal of rules. */
  hangs: Promise<unknown> = Promise.resolve();
  /** Called after each write, before it is verified. */
  afterWrite: () => void = () => {};

  constructor(
    readonly name: Backend["name"],
    readonly writer: string,
    readonly place: Backend["place"],
  ) {}

  /** Makes its program fail, or work again, for these families. */
  become(kind: FailureKind | "ok", ...families: Family[]): void {
    for (const family of families.length > 0 ? families : FAMILIES) {
      if (kind === "ok") this.fails.delete(family);
      else this.fails.set(family, kind);
    }
  }

  /** Removes the rules of all families as another program would, and reports the change. */
  flush(by?: string): void {
    this.kernel.clear();
    for (const watcher of this.watchers) watcher.changed(by);
  }

  async plan({ families }: Policy): Promise<Plan> {
    await this.#program(families.map(({ family }) => family));
    const desired = families.map(({ family, nonMasquerade }) => {
      const kept = nonMasquerade.effective.map(({ cidr }) => cidr.text).toSorted();
      return `${family} keeps ${kept.join(" ")}`;
    });
    const actual = families.flatMap(({ family }) => this.kernel.get(family) ?? []);
    return {
      actual,
      desired,
      inSync: Bun.deepEquals(actual, desired),
      writer: this.writer,
      counters: [],
      apply: async () => {
        for (const [i, { family }] of families.entries()) this.kernel.set(family, desired[i] ?? "");
        this.afterWrite();
        return [];
      },
    };
  }

  watch(watcher: Watcher): { stop(): void } {
    this.watchers.push(watcher);
    return { stop: () => this.watchers.splice(this.watchers.indexOf(watcher), 1) };
  }

  async check(): Promise<void> {
    const [kind] = this.fails.values();
    if (kind) throw new ProgramError(kind, this.writer, kind, "");
  }

  async fingerprint({ families }: Policy): Promise<string> {
    return (await this.actual(families.map(({ family }) => family))).join();
  }

  async rules(): Promise<[]> {
    return [];
  }

  async actual(families: readonly Family[] = FAMILIES): Promise<string[]> {
    await this.hangs;
    await this.#program(families);
    return families.flatMap(family => this.kernel.get(family) ?? []);
  }

  async remove(families: readonly Family[] = FAMILIES): Promise<string[]> {
    await this.hangs;
    await this.#program(families);
    return families.filter(family => this.kernel.delete(family)).map(family => `${this.writer} ${family}`);
  }

  async #program(families: readonly Family[]): Promise<void> {
    if (this.took > 0) await Bun.sleep(this.took);
    for (const family of families) {
      const kind = this.fails.get(family);
      if (kind) throw new ProgramError(kind, this.writer, kind, "");
    }
  }
}

/** The backends of all places, chosen as on a node where all of them work. */
export function fakes() {
  const nft = new FakeBackend("nftables", "nft", "own table");
  const iptables = new FakeBackend("iptables", "iptables-nft", "nat of nf_tables");
  const legacy = new FakeBackend("iptables", "iptables-legacy", "nat of xtables");
  const all = [nft, iptables, legacy];
  const alternatives = all.map(it => new MigratingBackend(it, all));
  const [backend = new MigratingBackend(nft, all)] = alternatives;
  const chosen: Chosen = { backend, reason: "a test", alternatives, ownTable: nft };
  /** All rules in the kernel, as sorted lines. */
  const kernel = () =>
    all.flatMap(({ writer, kernel }) => [...kernel.values()].map(it => `${writer}: ${it}`)).toSorted();
  return { nft, iptables, legacy, all, chosen, kernel };
}
