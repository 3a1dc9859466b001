import { holderText, lockNode } from "../agent/node-lock.ts";
import { everyBackend } from "../backends/choose.ts";
import { removeAll, showAll } from "../backends/removal.ts";
import { command } from "./command.ts";
import { toggle } from "./flag.ts";

export const cleanup = command({
  name: "cleanup",
  summary: "remove all rules of ipmasq and ip-masq-agent",
  description:
    "Removes every rule that ipmasq or ip-masq-agent created, in nftables and in both variants of iptables. Refuses while an agent is active, because the agent would restore its rules. If the agent runs with --masq-chain or --runtime-dir, pass the same values. After a cleanup, new connections leave with the Pod's address. Existing masqueraded connections continue only if another NAT rule is in use, such as kube-proxy's; otherwise the kernel stops translating them, and they break.",
  flags: {
    "dry-run": toggle("print what would be removed, without removing it", "false"),
    force: toggle("remove the rules even while an agent is active", "false"),
  },
  readsPolicy: false,
  examples: ["ipmasq cleanup --dry-run", "ipmasq cleanup"],
  async run({ "dry-run": dryRun, force }, flags) {
    const { lock, holder } = await lockNode(flags["runtime-dir"]);
    const notes: string[] = [];
    if (holder) {
      const active = `an agent is active on this node (${holderText(holder)})`;
      if (!force && !dryRun) return { notes: [`${active}; stop it first, or use --force`], exitCode: 1 };
      notes.push(dryRun ? active : `${active} and will restore its rules`);
    }
    try {
      const { done, warnings, failures } = await (dryRun ? showAll : removeAll)(
        await everyBackend(flags["masq-chain"]),
      );
      const stdout = (done.length > 0 ? done : ["nothing to remove"]).map(line => `${line}\n`).join("");
      return { stdout, notes: [...notes, ...warnings, ...failures], exitCode: failures.length > 0 ? 1 : 0 };
    } finally {
      lock?.close();
    }
  },
});
