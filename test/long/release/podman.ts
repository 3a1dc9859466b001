import { mkdir, mkdtemp, rm } from "node:fs/promises";
import { join } from "node:path";
import { Lines } from "../../../lab/lines.ts";
import { isIsolated, type Namespace } from "../../../lab/namespace.ts";
import { output } from "../../../lab/output.ts";
import { CACHE } from "../../../scripts/cache.ts";

/** In the empty /run of lab/isolate, invisible to the machine's own podman. */
const RUN = "/run/podman";

/** Replaces Debian 12's defaults, which need crun, systemd and more open files than a container has. */
const SETTINGS = `
  [containers]
  default_ulimits = ["nofile=1024:1024", "nproc=1024:1024"]
  [engine]
  runtime = "runc"
  cgroup_manager = "cgroupfs"
  events_logger = "none"
`;

/** Podman with its own storage and one image. Runs inside `lab/isolate`, as root. */
export class Podman implements AsyncDisposable {
  readonly #root: string;

  private constructor(root: string) {
    this.#root = root;
  }

  /** @param archive the image, as an OCI archive */
  static async create(archive: string): Promise<Podman> {
    if (!isIsolated()) throw new Error("containers must run inside lab/isolate");
    await mkdir(RUN, { recursive: true });
    await Bun.write(join(RUN, "containers.conf"), SETTINGS);
    const podman = new Podman(await mkdtemp(join(CACHE, "containers/podman-")));
    await podman.output(["load", "--quiet", "--input", archive]);
    return podman;
  }

  /** The command that runs podman. Its host network is the network namespace that it runs in. */
  command(argv: readonly string[]): string[] {
    const settings = ["env", `CONTAINERS_CONF=${RUN}/containers.conf`];
    return [...settings, "podman", `--root=${this.#root}`, `--runroot=${RUN}/containers`, ...argv];
  }

  /** Runs podman and returns its output. Throws if it fails. */
  output(argv: readonly string[]): Promise<string> {
    return output(this.command(argv));
  }

  /** Unpacks an image's file system. */
  async unpack(image: string, directory: string): Promise<void> {
    const container = (await this.output(["create", "--pull=never", image])).trim();
    await output(["sh", "-ec", '"$@" | tar -x -C "$0"', directory, ...this.command(["export", container])]);
    await this.output(["rm", container]);
  }

  /** Starts a container on a node, without waiting for its rules. */
  start(node: Namespace, name: string, argv: readonly string[]): Container {
    return new Container(this, node, name, argv);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.output(["pod", "rm", "--all", "--force", "--time=0"]);
    await this.output(["rm", "--all", "--force", "--time=0"]);
    await rm(this.#root, { recursive: true });
  }
}

/** A container in the foreground, and its log. */
export class Container {
  readonly log: Lines;
  readonly #program: Bun.Subprocess<"ignore", "pipe", "pipe">;

  readonly #podman: Podman;

  constructor(
    podman: Podman,
    node: Namespace,
    readonly name: string,
    argv: readonly string[],
  ) {
    this.#podman = podman;
    const command = podman.command(["run", `--name=${name}`, "--network=host", "--pull=never", ...argv]);
    this.#program = node.spawn(command, { stderr: "pipe" });
    this.log = new Lines(this.#program.stderr);
  }

  /** Resolves with its exit code when it ends. */
  get exited(): Promise<number> {
    return this.#program.exited;
  }

  /** Stops it, after a second by SIGKILL. Returns its exit code, 137 after SIGKILL. */
  async stop(): Promise<number> {
    await this.#podman.output(["stop", "--time=1", this.name]);
    return this.exited;
  }
}
