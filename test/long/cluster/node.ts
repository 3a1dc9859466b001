import { mkdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import { Lines } from "../../../lab/lines.ts";
import { isIsolated, type Namespace } from "../../../lab/namespace.ts";
import { output } from "../../../lab/output.ts";
import { run } from "../../../src/system/program.ts";

/** In the empty /run of lab/isolate. */
const FOLDER = "/run/cluster";
/** Files of the test, as the node sees them. */
export const FILES = "/srv";
/** The folder of Kubernetes' programs, as the node sees it. */
const PROGRAMS = "/opt/kubernetes";

/**
 * A node of a cluster: a Debian root in its own mount, PID, UTS, IPC and cgroup namespaces, on the network of a
 * namespace of the lab. Its files are in memory, and are lost when it ends.
 */
export class ClusterNode implements AsyncDisposable {
  readonly #network: Namespace;
  readonly #init: Bun.Subprocess;
  readonly #pid: number;
  /** The name of its cgroup in each hierarchy. */
  readonly #group: string;

  private constructor(network: Namespace, init: Bun.Subprocess, pid: number, group: string) {
    this.#network = network;
    this.#init = init;
    this.#pid = pid;
    this.#group = group;
  }

  /**
   * @param root a Debian root, which stays unchanged
   * @param programs the folder with Kubernetes' programs
   * @throws Error outside of lab/isolate, and on machines without version 1 of cgroups
   */
  static async boot(network: Namespace, root: string, programs: string): Promise<ClusterNode> {
    if (!isIsolated()) throw new Error("a cluster needs its own namespaces: run `lab/isolate bun …`");
    const group = `ipmasq-${crypto.randomUUID()}`;
    for (const folder of ["files/log", "upper", "work", "root"])
      await mkdir(join(FOLDER, folder), { recursive: true });
    const shell = ["sh", "-euc", ENTER, BOOT, group, root, programs];
    const init = network.spawn(shell, { stderr: "pipe" });
    try {
      await new Lines(init.stdout).until("booted");
    } catch {
      const why = await init.stderr.text();
      await removeGroup(group);
      throw new Error(`the node does not boot: ${why}`);
    }
    const [pid] = (await readFile(`/proc/${init.pid}/task/${init.pid}/children`, "utf8")).split(" ");
    return new ClusterNode(network, init, Number(pid), group);
  }

  /** The command line that runs `argv` on the node. */
  command(argv: readonly string[]): string[] {
    const namespaces = ["--mount", "--pid", "--net", "--uts", "--ipc", "--cgroup", "--root", "--wd"];
    const environment = ["env", "-i", `PATH=${PROGRAMS}:/usr/sbin:/usr/bin:/sbin:/bin`, "HOME=/tmp"];
    const nsenter = ["nsenter", `--target=${this.#pid}`, ...namespaces, ...environment, ...argv];
    return ["sh", "-euc", `${JOIN}\nexec "$@"`, this.#group, ...nsenter];
  }

  /** Runs a program that must succeed, and returns its output. */
  output(argv: readonly string[]): Promise<string> {
    return output(this.command(argv));
  }

  /** Starts a program that stays; its output goes to a log. */
  start(name: string, argv: readonly string[]): Bun.Subprocess {
    const log = Bun.file(this.log(name));
    return this.#network.spawn(this.command(argv), { stdout: log, stderr: log });
  }

  /** The path of a program's log. */
  log(name: string): string {
    return join(FOLDER, "files/log", name);
  }

  /** Writes a file that the node sees in {@link FILES}. */
  async write(name: string, text: string | Blob): Promise<void> {
    await Bun.write(join(FOLDER, "files", name), text);
  }

  /** Kills all that runs on it, and removes its cgroups. */
  async [Symbol.asyncDispose](): Promise<void> {
    await run(["kill", "-KILL", `${this.#pid}`]);
    await this.#init.exited;
    await removeGroup(this.#group);
  }
}

async function removeGroup(group: string): Promise<void> {
  const remove = 'for top in /sys/fs/cgroup/*/"$0"; do find "$top" -depth -type d -exec rmdir {} +; done';
  for (let left = 50; left > 0; left--) {
    if ((await run(["sh", "-ec", remove, group])).exitCode === 0) return;
    await Bun.sleep(100); // the kernel still reaps processes
  }
}

/** Joins the cgroup $0 in each hierarchy. */
const JOIN = 'for joined in /sys/fs/cgroup/*/"$0"; do echo 0 >"$joined/cgroup.procs"; done';

/** Makes a cgroup in each hierarchy, and joins it. Arguments: the script of the node, then its arguments. */
const ENTER = `
  boot=$0 group=$1
  [ -e /sys/fs/cgroup/memory/cgroup.procs ] || { echo "this machine has no version 1 of cgroups" >&2; exit 1; }
  for top in /sys/fs/cgroup/*/; do
    mkdir "$top$group"
    case $top in */cpuset/)
      for file in cpuset.cpus cpuset.mems; do cat "$top$file" >"$top$group/$file"; done ;;
    esac
    echo 0 >"$top$group/cgroup.procs"
  done
  exec unshare --mount --pid --fork --kill-child --uts --ipc --cgroup --propagation private sh -euc "$boot" "$@"
`;

/**
 * Builds the file system of the node, and becomes its process 1. Sysctls outside of the network
 * namespace are read-only, as they belong to the whole machine. kubelet finds those that it would change as it wants
 * them.
 */
const BOOT = `
  root=$1 programs=$2
  cd ${FOLDER}
  mount -t overlay -o "lowerdir=$root,upperdir=upper,workdir=work" overlay root
  cd root
  mkdir -p old opt/kubernetes srv etc/cni/net.d var/lib var/log
  hostname node
  mount -t proc proc proc
  mount --bind proc/sys proc/sys
  mount -o remount,bind,ro proc/sys
  mount --bind proc/sys/net proc/sys/net
  mount -o remount,bind,rw proc/sys/net
  mount -t sysfs sysfs sys
  mount -t tmpfs -o mode=755 tmpfs sys/fs/cgroup
  while IFS=: read -r _ controllers _; do
    case $controllers in
      "") continue ;;
      name=*) name=\${controllers#name=} options=none,$controllers ;;
      *) name=$controllers options=$controllers ;;
    esac
    mkdir "sys/fs/cgroup/$name"
    mount -t cgroup -o "$options" cgroup "sys/fs/cgroup/$name"
  done </proc/self/cgroup
  mount --rbind /dev dev
  for memory in run tmp var/lib var/log; do mount -t tmpfs -o mode=755 tmpfs "$memory"; done
  mkdir run/netns run/lock
  mount --bind "$programs" opt/kubernetes
  mount --bind ${FOLDER}/files srv
  for sysctl in vm/overcommit_memory=1 vm/panic_on_oom=0 kernel/panic=10 kernel/panic_on_oops=1 \\
    kernel/keys/root_maxkeys=1000000 kernel/keys/root_maxbytes=25000000; do
    echo "\${sysctl#*=}" >run/value
    file=run/sysctl-$(echo "\${sysctl%=*}" | tr / -)
    mv run/value "$file"
    mount --bind "$file" "proc/sys/\${sysctl%=*}"
  done
  echo 127.0.0.1 localhost >etc/hosts
  : >etc/resolv.conf
  pivot_root . old
  cd /
  umount -l /old
  echo booted
  exec catatonit -P
`;
