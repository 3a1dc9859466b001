import type { Backend, Plan, Watcher } from "../../src/backends/backend.ts";
import type { Chosen } from "../../src/backends/choose.ts";
import { MigratingBackend } from "../../src/backends/migrating-backend.ts";
import type { Family } from "../../src/net/cidr.ts";
import type { Policy } from "../../src/policy/policy.ts";
import { type FailureKind, ProgramError } from "../../src/system/program.ts";

/** A backend whose kernel is memory, and whose program fails as a test wants. */
export class FakeBackend implements Backend {
  /** Rules by family. */
  readonly kernel = new Map<Family, string>();
  readonly fails = new Map<Family, FailureKind>();
  readonly watchers: Watcher[] = [];
  /** What reading of leftovers waits for. */
  reading: Promise<unknown> = Promise.resolve();

  constructor(
    readonly name: Backend["name"],
    readonly writer: string,
    readonly place: Backend["place"],
  ) {}

  /** Makes it fail in both families, or in one; or work again. */
  become(kind: FailureKind | "ok", ...families: Family[]): void {
    for (const family of families.length > 0 ? families : (["ip", "ip6"] as const)) {
      if (kind === "ok") this.fails.delete(family);
      else this.fails.set(family, kind);
    }
  }

  async plan({ families }: Policy): Promise<Plan> {
    this.#check(families.map(({ family }) => family));
    const desired = families.map(
      it => `${it.family} ${it.nonMasquerade.effective.map(({ cidr }) => cidr.text)}`,
    );
    const actual = families.flatMap(({ family }) => this.kernel.get(family) ?? []);
    return {
      actual,
      desired,
      inSync: Bun.deepEquals(actual, desired),
      writer: this.writer,
      counters: [],
      apply: async () => {
        for (const [i, { family }] of families.entries()) this.kernel.set(family, desired[i] ?? "");
        return [];
      },
    };
  }

  watch(watcher: Watcher): { stop(): void } {
    this.watchers.push(watcher);
    return { stop: () => {} };
  }

  async probe(): Promise<ProgramError | undefined> {
    const [kind] = this.fails.values();
    return kind && new ProgramError(kind, this.writer, kind, "");
  }

  async rules(): Promise<[]> {
    return [];
  }

  async actual(families: readonly Family[] = ["ip", "ip6"]): Promise<string[]> {
    await this.reading;
    this.#check(families);
    return families.flatMap(family => this.kernel.get(family) ?? []);
  }

  async remove(families: readonly Family[] = ["ip", "ip6"]): Promise<string[]> {
    this.#check(families);
    return families.filter(family => this.kernel.delete(family));
  }

  #check(families: readonly Family[]): void {
    for (const family of families) {
      const kind = this.fails.get(family);
      if (kind) throw new ProgramError(kind, this.writer, kind, "");
    }
  }
}

/** Backends of all places, as they are chosen where all of them work. */
export function fakes() {
  const nft = new FakeBackend("nftables", "nft", "own table");
  const iptables = new FakeBackend("iptables", "iptables-nft", "nat of nf_tables");
  const legacy = new FakeBackend("iptables", "iptables-legacy", "nat of xtables");
  const all = [nft, iptables, legacy];
  const alternatives = all.map(it => new MigratingBackend(it, all));
  const [backend = new MigratingBackend(nft, all)] = alternatives;
  const chosen: Chosen = { backend, reason: "a test", alternatives, nftables: nft };
  return { nft, iptables, legacy, chosen };
}
