import { described, lockNode } from "../agent/node-lock.ts";
import { type Backend, FAMILIES } from "../backends/backend.ts";
import { everyBackend } from "../backends/choose.ts";
import type { Family } from "../net/cidr.ts";
import { FileLock } from "../system/file-lock.ts";
import { ProgramError } from "../system/program.ts";
import { command } from "./command.ts";
import { toggle } from "./flags.ts";

export const cleanup = command({
  name: "cleanup",
  summary: "remove every rule that the agent ever made",
  description:
    "Removes the rules that an ipmasq or ip-masq-agent made, in nftables and in both variants of iptables. Refuses while an agent is active, which would write them again. New connections then leave with the Pod's address. Connections that are masqueraded already keep the node's address as long as the node has another NAT chain, such as kube-proxy's; without one the kernel stops translating them.",
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
      const { done, warnings, failures } = await each(dryRun ? wouldRemove : remove);
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
async function each(work: Work) {
  const done: string[] = [];
  const warnings: string[] = [];
  const failures: string[] = [];
  const readByNft = new Set<Family>();
  for (const backend of await everyBackend()) {
    for (const family of FAMILIES) {
      try {
        done.push(...(await work(backend, family)));
        if (backend.writer === "nft" && backend.name === "iptables") readByNft.add(family);
      } catch (error) {
        if (!(error instanceof ProgramError)) throw error;
        const where = `${family}, by ${backend.writer}: ${error.message}`;
        // What the kernel or the program cannot do was never done; and nft has read the same table.
        const harmless =
          error.kind === "unsupported" || (error.kind === "incompatible" && readByNft.has(family));
        if (harmless) warnings.push(`could not look at ${where}`);
        else failures.push(`rules may be left in ${where}`);
      }
    }
  }
  return { done, warnings, failures };
}
