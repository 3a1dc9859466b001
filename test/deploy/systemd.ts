import { Lines } from "../../lab/lines.ts";
import type { Namespace } from "../../lab/namespace.ts";
import { type Chroot, suiteChroot } from "../debian/chroot.ts";
import type { Missing } from "../debian/tools.ts";

/** Debian suites whose systemd the tests use. */
export const SYSTEMD_SUITES = ["bookworm", "trixie"];

const PACKAGES = "systemd nftables iptables dash coreutils findutils procps util-linux mount".split(" ");

/** Returns the root of a Debian system with systemd, nft and iptables; it is downloaded once (20 MB, 4 s). */
export function systemdRoot(suite: string): Promise<Chroot | Missing> {
  return suiteChroot(`systemd-${suite}`, suite, PACKAGES);
}

/**
 * systemd as process 1 of a PID namespace, with its own cgroups, /dev and /run, and read-only sysctls and /sys. It starts
 * the units of a Debian system without hardware. Needs root.
 */
export class Systemd {
  readonly #lines: Lines;

  readonly #shell: Bun.Subprocess<"pipe", "pipe", "inherit">;

  private constructor(shell: Bun.Subprocess<"pipe", "pipe", "inherit">) {
    this.#shell = shell;
    this.#lines = new Lines(shell.stdout);
  }

  /**
   * Returns when all units have started.
   *
   * @param files a directory whose files are copied into the system
   * @param enabled units to start
   */
  static async start(
    node: Namespace,
    chroot: Chroot,
    files: string,
    enabled: readonly string[],
  ): Promise<Systemd> {
    const argv = chroot.command(["/bin/sh", "-c", SERVE, files, ...enabled]);
    const systemd = new Systemd(node.spawn(argv, { stdin: "pipe" }));
    try {
      await systemd.run("systemctl is-system-running --wait || { systemctl --failed; exit 1; }");
      return systemd;
    } catch (error) {
      await systemd.stop();
      throw error;
    }
  }

  /** Runs a shell command in the system and returns its output. Throws if it fails. */
  async run(line: string): Promise<string> {
    this.#shell.stdin.write(`${line}\n`);
    this.#shell.stdin.flush();
    const said = await this.#lines.until("exit status ");
    const [last, ...before] = said.reverse();
    const text = before.reverse().join("\n");
    if (last !== "exit status 0") throw new Error(`${line}: ${last}\n${text}`);
    return text;
  }

  /** Ends systemd and all its processes. */
  async stop(): Promise<void> {
    this.#shell.stdin.end();
    await this.#shell.exited;
  }
}

/** In containers, systemd needs cgroups of version 2, but no controllers. */
const SERVE = `
set -e
cp -R "/proc/1/root$0/." /
printf '%032d\\n' 1 >/etc/machine-id
for unit in ${[
  "console-getty.service",
  "dev-hugepages.mount",
  "ldconfig.service",
  "sys-fs-fuse-connections.mount",
  "sys-kernel-debug.mount",
  "sys-kernel-tracing.mount",
  "systemd-modules-load.service",
  "systemd-networkd.service",
].join(" ")}; do ln -sf /dev/null "/etc/systemd/system/$unit"; done
systemctl --quiet enable "$@" 2>/dev/null

mkdir /run/lab
cd /run/lab
mkdir dev cgroups
mount -t tmpfs -o mode=755 tmpfs dev
for name in null zero full random urandom tty; do : >"dev/$name"; mount --bind "/dev/$name" "dev/$name"; done
: >dev/console
mkdir dev/pts
mount -t devpts -o newinstance,ptmxmode=0666 devpts dev/pts
ln -s pts/ptmx dev/ptmx
mount --move dev /dev
mount -t cgroup2 cgroup2 cgroups
mine=$(mktemp -d cgroups/ipmasq-XXXXXX)
mount -o remount,bind,ro /sys

sh -ec 'echo 0 >"$0/cgroup.procs"; exec unshare --pid --fork --kill-child --mount --cgroup --ipc --uts sh -ec "
  mount -t cgroup2 cgroup2 /sys/fs/cgroup
  mount -t proc proc /proc
  mount --bind /proc/sys /proc/sys
  mount -o remount,bind,ro /proc/sys
  exec env -i container=ipmasq PATH=$PATH /lib/systemd/systemd --log-target=null
"' "$mine" </dev/null >/dev/null 2>&1 &
outer=$!
until [ -S /run/systemd/private ]; do kill -0 $outer; sleep 0.01; done
first=$(cat /proc/$outer/task/$outer/children)
set +e
while read -r line; do
  nsenter --target=$first --mount --root --wd --pid --cgroup sh -c "$line" 2>&1 </dev/null
  echo "exit status $?"
done
exec 2>/dev/null
kill -KILL $first
wait $outer
find "$mine" -depth -type d -exec rmdir {} +
`;
