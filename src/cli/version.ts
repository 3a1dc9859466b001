import { command } from "./command.ts";
import { choice } from "./flags.ts";

/** Set when the binary is built; in a checkout there is no build to tell of. */
declare const IPMASQ_VERSION: string | undefined;
declare const IPMASQ_COMMIT: string | undefined;

/** What this is a build of. */
export const BUILD = {
  version: typeof IPMASQ_VERSION === "string" ? IPMASQ_VERSION : "0.0.0-checkout",
  commit: typeof IPMASQ_COMMIT === "string" ? IPMASQ_COMMIT : "unknown",
  bun: Bun.version,
};

export const version = command({
  name: "version",
  summary: "print version, commit and the version of Bun",
  description: "Prints which ipmasq this is, from which commit it was built, and with which Bun.",
  flags: { output: choice(["text", "json"], "how to print it", "text") },
  readsPolicy: false,
  examples: ["ipmasq version --output=json"],
  async run({ output }) {
    const text = `ipmasq ${BUILD.version} (commit ${BUILD.commit}, Bun ${BUILD.bun})`;
    return { stdout: `${output === "json" ? JSON.stringify(BUILD) : text}\n`, exitCode: 0 };
  },
});
