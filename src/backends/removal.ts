import type { Family } from "../net/cidr.ts";
import { type FailureKind, ProgramError } from "../system/program.ts";
import { type Backend, FAMILIES } from "./backend.ts";

/** What was done with the rules of all backends, in lines for people. */
export interface Removal {
  readonly done: readonly string[];
  /** What could not be looked at, where nothing of ours can be. */
  readonly warnings: readonly string[];
  /** Where rules of ours may be left, and why. */
  readonly failures: readonly string[];
}

/** Removes the rules of all backends. */
export function removeAll(backends: readonly Backend[]): Promise<Removal> {
  return each(backends, async (backend, family) =>
    (await backend.remove([family])).map(it => `removed ${it}`),
  );
}

/** What {@link removeAll} would remove. */
export function showAll(backends: readonly Backend[]): Promise<Removal> {
  return each(backends, async (backend, family) => {
    const held = await backend.held([family]);
    if (held.length === 0) return [];
    return [`would remove from ${family}, by ${backend.writer}:`, ...held.map(line => `  ${line}`)];
  });
}

type Work = (backend: Backend, family: Family) => Promise<readonly string[]>;

/** Does the work with each backend and family apart, so that no failure keeps the others from being done. */
async function each(backends: readonly Backend[], work: Work): Promise<Removal> {
  const done: string[] = [];
  const errors: { readonly where: string; readonly family: Family; readonly kind: FailureKind }[] = [];
  const read = new Set<string>();
  for (const backend of backends) {
    for (const family of FAMILIES) {
      // nft reads the table of iptables-nft too: only where that could not.
      if (backend.name === "iptables" && backend.writer === "nft" && read.has(`iptables-nft ${family}`))
        continue;
      try {
        done.push(...(await work(backend, family)));
        read.add(`${backend.name === "nftables" ? "nftables" : backend.writer} ${family}`);
      } catch (error) {
        if (!(error instanceof ProgramError)) throw error;
        const where = `${family}, by ${backend.writer}: ${error.message}`;
        errors.push({ where, family, kind: error.kind });
      }
    }
  }
  // What the kernel or the program cannot do was never done; and nft can read what iptables cannot.
  const isHarmless = ({ kind, family }: (typeof errors)[number]) =>
    kind === "unsupported" || (kind === "incompatible" && read.has(`nft ${family}`));
  return {
    done,
    warnings: errors.filter(isHarmless).map(({ where }) => `could not look at ${where}`),
    failures: errors.filter(it => !isHarmless(it)).map(({ where }) => `rules may be left in ${where}`),
  };
}
