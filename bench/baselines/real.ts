import { chmod, mkdir, symlink, writeFile } from "node:fs/promises";
import { join } from "node:path";
import type { Baseline } from "./baseline.ts";
import { saveConfig } from "./ipmasq.ts";

/** The path of a real ip-masq-agent, if there is one. */
const AGENT = process.env.IP_MASQ_AGENT;

/** ip-masq-agent never ends by itself; the bench kills it this many seconds after its first sync. */
const TAIL = 0.05;

export const REAL: readonly Baseline[] = (AGENT === undefined ? [] : ["iptables-nft", "iptables-legacy"]).map(
  variant => ({
    name: `ip-masq-agent, ${variant}`,
    ours: false,
    linear: true,
    tail: TAIL,
    sync: async (run, cidrs, folder) => {
      await saveConfig(cidrs, folder);
      const { exitCode, stderr } = await run(await realCommand(variant, folder, { once: true }));
      if (exitCode !== KILLED) throw new Error(stderr.trim().split("\n").at(-1)?.slice(0, 300));
    },
  }),
);

const KILLED = 137;

/**
 * Returns the command line that runs it with the config in a folder.
 *
 * @param once ends it after its first sync; otherwise it runs until it is killed
 */
export async function realCommand(
  variant: string,
  folder: string,
  { once }: { once: boolean },
): Promise<string[]> {
  if (AGENT === undefined) throw new Error("IP_MASQ_AGENT has no path");
  const bin = join(folder, "bin");
  await mkdir(bin, { recursive: true });
  // These programs act according to the name in argv[0].
  await symlink(Bun.which(variant) ?? variant, join(bin, "iptables")).catch(ifThere);
  const end = `(sleep ${TAIL}; kill -KILL $PPID) >&- 2>&- &`;
  await writeFile(
    join(bin, "iptables-restore"),
    `#!/bin/sh\n${variant}-restore "$@" || exit\n${once ? end : ""}\n`,
  );
  await chmod(join(bin, "iptables-restore"), 0o755);
  return ["unshare", "--mount", "sh", "-ec", ENTER, folder, AGENT, "--logtostderr"];
}

/** It only reads /etc/config/ip-masq-agent, so it gets a private overlay of /etc. */
const ENTER = `
  mkdir -p "$0/upper/config" "$0/work"
  mount -t overlay -o "lowerdir=/etc,upperdir=$0/upper,workdir=$0/work" overlay /etc
  mount --bind "$0" /etc/config
  PATH="$0/bin:$PATH" exec "$@"
`;

function ifThere(error: NodeJS.ErrnoException): void {
  if (error.code !== "EEXIST") throw error;
}
