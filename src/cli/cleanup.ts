import { holderText, lockNode } from "../agent/node-lock.ts";
import { everyBackend } from "../backends/choose.ts";
import { removeAll, showAll } from "../backends/removal.ts";
import { command } from "./command.ts";
import { toggle } from "./flags.ts";

export const cleanup = command({
  name: "cleanup",
  summary: "remove all rules of ipmasq and ip-masq-agent",
  description:
    "Removes the rules of ipmasq and ip-masq-agent, in nftables and in both variants of iptables. Refuses while an agent is active, since it would write them again. New connections then leave with the Pod's address. Existing masqueraded connections continue if another NAT rule is in use, such as kube-proxy's; otherwise the kernel stops translating them, and they break.",
  flags: {
    "dry-run": toggle("print what would be removed, and remove nothing", "false"),
    force: toggle("remove the rules even if an agent is active", "false"),
  },
  readsPolicy: false,
  examples: ["ipmasq cleanup --dry-run", "ipmasq cleanup"],
  async run({ "dry-run": dryRun, force }, flags) {
    const { lock, holder } = await lockNode(flags["runtime-dir"]);
    const notes: string[] = [];
    if (holder) {
      const active = `an agent is active on this node (${holderText(holder)})`;
      if (!force && !dryRun)
        return { stderr: `ipmasq: ${active}; stop it first, or use --force\n`, exitCode: 1 };
      notes.push(dryRun ? active : `${active} and will write its rules again`);
    }
    try {
      const { done, warnings, failures } = await (dryRun ? showAll : removeAll)(
        await everyBackend(flags["masq-chain"]),
      );
      const stdout = (done.length > 0 ? done : ["nothing to remove"]).map(line => `${line}\n`).join("");
      const lines = [...notes, ...warnings, ...failures].map(line => `ipmasq: ${line}\n`);
      return { stdout, stderr: lines.join(""), exitCode: failures.length > 0 ? 1 : 0 };
    } finally {
      lock?.close();
    }
  },
});
