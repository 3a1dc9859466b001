import { described, lockNode } from "../agent/node-lock.ts";
import { type Backend, FAMILIES } from "../backends/backend.ts";
import { everyBackend } from "../backends/choose.ts";
import type { Family } from "../net/cidr.ts";
import { FileLock } from "../system/file-lock.ts";
import { type FailureKind, ProgramError } from "../system/program.ts";
import { command } from "./command.ts";
import { toggle } from "./flags.ts";

export const cleanup = command({
  name: "cleanup",
  summary: "remove every rule that the agent ever made",
  description:
    "Removes the rules that an ipmasq or ip-masq-agent made, in nftables and in both variants of iptables. Refuses while an agent is active, which would write them again. New connections then leave with the Pod's address. Connections that are masqueraded already go on where another NAT rule is in use, such as kube-proxy's; where none is, the kernel stops translating them, and they break.",
  flags: {
    "dry-run": toggle("print what would be removed, and remove nothing", "false"),
    force: toggle("remove the rules even if an agent is active", "false"),
  },
  readsPolicy: false,
  examples: ["ipmasq cleanup --dry-run", "ipmasq cleanup"],
  async run({ "dry-run": dryRun, force }, flags) {
    const lock = await lockNode(flags["runtime-dir"]);
    const notes: string[] = [];
    if (lock && !(lock instanceof FileLock)) {
      const active = `an agent is active on this node (${described(lock.holder)})`;
      if (!force && !dryRun)
        return { stderr: `ipmasq: ${active}; stop it first, or use --force\n`, exitCode: 1 };
      notes.push(`${active} and writes its rules again`);
    }
    try {
      const { done, warnings, failures } = await each(flags["masq-chain"], dryRun ? wouldRemove : remove);
      const stdout = done.length > 0 ? done.join("") : "nothing to remove\n";
      const lines = [...notes, ...warnings, ...failures].map(line => `ipmasq: ${line}\n`);
      return { stdout, stderr: lines.join(""), exitCode: failures.length > 0 ? 1 : 0 };
    } finally {
      if (lock instanceof FileLock) lock.close();
    }
  },
});

type Work = (backend: Backend, family: Family) => Promise<readonly string[]>;

async function remove(backend: Backend, family: Family): Promise<string[]> {
  return (await backend.remove([family])).map(it => `removed ${it}\n`);
}

async function wouldRemove(backend: Backend, family: Family): Promise<string[]> {
  const held = await backend.held([family]);
  if (held.length === 0) return [];
  return [`would remove from ${family}, by ${backend.writer}:\n`, ...held.map(line => `  ${line}\n`)];
}

/** Does the work with each backend and family apart, so that no failure keeps the others from being done. */
async function each(chain: string, work: Work) {
  const done: string[] = [];
  const errors: { readonly where: string; readonly family: Family; readonly kind: FailureKind }[] = [];
  const read = new Set<string>();
  for (const backend of await everyBackend(chain)) {
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
