import { command } from "./command.ts";
import { choice } from "./flag.ts";

/** Set when the binary is built; undefined when the code runs from a checkout. */
declare const IPMASQ_VERSION: string | undefined;
declare const IPMASQ_COMMIT: string | undefined;
declare const IPMASQ_SOURCE: string | undefined;

/** The versions that identify this build. */
export const BUILD = {
  version: typeof IPMASQ_VERSION === "string" ? IPMASQ_VERSION : "0.0.0-checkout",
  commit: typeof IPMASQ_COMMIT === "string" ? IPMASQ_COMMIT : "unknown",
  bun: Bun.version,
};

/** The address of the repository; undefined if package.json has none. */
export const SOURCE = typeof IPMASQ_SOURCE === "string" && IPMASQ_SOURCE !== "" ? IPMASQ_SOURCE : undefined;

/** Identifies this build to other processes: the agent and a command understand each other's policy if it is equal. */
export function buildText(): string {
  return `${BUILD.version} ${BUILD.commit}`;
}

export const version = command({
  name: "version",
  summary: "print the versions of ipmasq and Bun",
  description: "Prints the version of ipmasq, the commit it was built from, and the version of Bun.",
  flags: { output: choice(["text", "json"], "output format", "text") },
  readsPolicy: false,
  examples: ["ipmasq version --output=json"],
  async run({ output }) {
    const text = `ipmasq ${BUILD.version} (commit ${BUILD.commit}, Bun ${BUILD.bun})`;
    return { stdout: `${output === "json" ? JSON.stringify(BUILD) : text}\n`, exitCode: 0 };
  },
});
