import { NftablesBackend } from "../backends/nftables/backend.ts";
import { command } from "./command.ts";

export const cleanup = command({
  name: "cleanup",
  summary: "remove every rule that the agent ever made",
  description:
    "Removes what the agent put into the kernel, whichever of its versions and settings did, and nothing else. Connections that are masqueraded already stay so.",
  flags: {},
  readsPolicy: false,
  examples: ["ipmasq cleanup"],
  async run() {
    const removed = await new NftablesBackend().remove();
    const lines = removed.length > 0 ? removed.map(it => `removed ${it}\n`) : ["nothing to remove\n"];
    return { stdout: lines.join(""), exitCode: 0 };
  },
});
