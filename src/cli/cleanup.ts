import { everyBackend } from "../backends/choose.ts";
import { command } from "./command.ts";

export const cleanup = command({
  name: "cleanup",
  summary: "remove every rule that the agent ever made",
  description:
    "Removes what the agent, or ip-masq-agent, put into the kernel, by nftables and both variants of iptables, and nothing else. Connections that are masqueraded already stay so.",
  flags: {},
  readsPolicy: false,
  examples: ["ipmasq cleanup"],
  async run() {
    const removed: string[] = [];
    for (const backend of await everyBackend()) removed.push(...(await backend.remove()));
    const lines = removed.length > 0 ? removed.map(it => `removed ${it}\n`) : ["nothing to remove\n"];
    return { stdout: lines.join(""), exitCode: 0 };
  },
});
