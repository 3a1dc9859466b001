import { parseConfig } from "../config/load.ts";
import { formatProblems, type Problem } from "../config/problem.ts";
import { type Sources, timedOut } from "../config/sources.ts";
import type { AgentState, ConfigRecord } from "../observe/agent-state.ts";
import type { Log } from "../observe/log.ts";
import type { Trigger } from "../observe/sync-stats.ts";
import { needsOwnAddresses, withOwnAddresses } from "../policy/own-addresses.ts";
import { type Policy, type PolicyFlags, policyOf } from "../policy/policy.ts";
import { type AddressSource, AddressWatch } from "./address-watch.ts";
import { type ConfigEvents, ConfigReader } from "./config-reader.ts";

/** The config's path, and everything else that decides about the policy. */
export interface Settings {
  readonly config: string;
  /** Severity of a missing path; undefined: the defaults apply without a message. */
  readonly missing?: Problem["severity"] | undefined;
  readonly flags: PolicyFlags;
  /** Milliseconds; undefined: the config decides. */
  readonly resyncInterval: number | undefined;
}

/** Provides the config: {@link ConfigReader}, or a test. */
export type ConfigSource = Pick<ConfigReader, "watch" | "stop" | "look" | "latest" | "complete" | "release">;

/** The policy of the last valid config. */
export class DesiredPolicy {
  /** Undefined before the first valid config. */
  policy: Policy | undefined;
  /** Whether the policy has not been in force yet. */
  isNew = false;
  /** The resync interval in milliseconds. */
  interval: number;
  #digest: string | undefined;
  readonly #source: ConfigSource;
  readonly #addresses: AddressSource;
  #changed: ((trigger: "config" | "address") => void) | undefined;
  /** The result of the last read; `state.config` shows it while the config can be read. */
  #record: ConfigRecord | undefined;

  /**
   * @param open opens the source of the config
   * @param addresses the node's addresses
   */
  constructor(
    readonly settings: Settings,
    readonly state: AgentState,
    readonly log: Log,
    open: (events: ConfigEvents) => ConfigSource = events => new ConfigReader(settings.config, events),
    addresses: AddressSource = new AddressWatch(reason =>
      log.warn("lost the address change events; checking the addresses every 0.75 s", { reason }),
    ),
  ) {
    this.interval = settings.resyncInterval ?? RESYNC_MS;
    this.#addresses = addresses;
    const { config } = settings;
    this.#source = open({
      changed: () => this.#changed?.("config"),
      lost: reason => log.warn("lost the file change events; config changes may apply late", { reason }),
      incomplete: isIncomplete => this.#incomplete(isIncomplete),
      writing: () => log.warn("config is being written; waiting for it to be complete", { config }),
      truncated: file => this.#truncated(file),
      hung: deadline => this.#hung(deadline),
    });
  }

  /** Starts to read the config, right before the first `read`. */
  prepare(): void {
    this.#source.look();
  }

  /** From now on, calls `changed` when {@link read} would find a new config, or other addresses for `snatAddresses`. */
  watch(changed: (trigger: "config" | "address") => void): void {
    this.#changed = changed;
    this.#source.watch();
  }

  stop(): void {
    this.#source.stop();
    this.#addresses.stop();
    this.#changed = undefined;
  }

  /**
   * Reads the config if it changed and is complete. An invalid config is logged once and changes nothing.
   *
   * @param triggers the triggers of the sync. A repair does not wait for the config, and a `config` trigger means that
   *   the source has read it already
   * @param timeout milliseconds to wait for the first config
   */
  async read(triggers: readonly Trigger[], timeout: number): Promise<void> {
    const source = this.#source;
    const isPrepared = this.#digest === undefined;
    const mustRead = !isPrepared && triggers.some(it => RELOADS.has(it));
    if (!mustRead && triggers.includes("kernel")) source.look();
    const sources =
      (mustRead ? undefined : source.complete) ??
      (await source.latest(this.policy ? Math.min(timeout, READ_MS) : timeout));
    if (sources && sources.digest !== this.#digest) await this.#load(sources);
    if (this.policy) await this.#chooseAddresses(this.policy);
  }

  async #chooseAddresses(policy: Policy): Promise<void> {
    const isNeeded = needsOwnAddresses(policy);
    if (!isNeeded || !this.#changed) this.#addresses.stop();
    else this.#addresses.watch(() => void this.#addressesChanged());
    if (!isNeeded) return;
    const chosen = withOwnAddresses(policy, await this.#addresses.read());
    if (chosen === policy || this.policy !== policy) return;
    this.policy = chosen;
    this.state.policy = chosen;
    this.isNew = true;
  }

  async #addressesChanged(): Promise<void> {
    const addresses = await this.#addresses.read();
    const { policy } = this;
    if (policy && withOwnAddresses(policy, addresses) !== policy) this.#changed?.("address");
  }

  async #load(sources: Sources): Promise<void> {
    const { config: path, flags } = this.settings;
    const { digest } = sources;
    this.#digest = digest;
    const loaded = await parseConfig(sources, {
      enableIPv6: flags.enableIPv6,
      missing: this.settings.missing,
    });
    this.#source.release(sources);
    if (sources.files.some(({ bytes }) => bytes.length >= LARGE)) Bun.gc(true);
    this.#record = { path, ok: loaded.ok, problems: loaded.problems, digest };
    this.state.config = this.#record;
    const lines = (severity: Problem["severity"]) =>
      formatProblems(
        loaded.problems.filter(it => it.severity === severity),
        false,
      );
    for (const line of lines("error")) this.log.error(line);
    for (const line of lines("warning")) this.log.warn(line);
    if (!loaded.ok) {
      this.log.error(`config rejected, ${this.#consequence}`, { config: path });
      return;
    }
    const at = Date.now();
    this.state.configAcceptedAt = at;
    this.policy = policyOf(loaded.config, flags);
    this.state.policy = this.policy;
    this.isNew = true;
    this.interval = this.settings.resyncInterval ?? loaded.config.resyncInterval?.value ?? RESYNC_MS;
    this.state.interval = this.interval;
  }

  /** Lets `status` show that a newer config is not complete yet. */
  #incomplete(isIncomplete: boolean): void {
    const { warnings } = this.state;
    const { config } = this.settings;
    if (isIncomplete)
      warnings.set(
        "config",
        `${config}: perhaps still being written; read within five seconds of its last change; ${this.#consequence}`,
      );
    else warnings.delete("config");
  }

  #truncated(file: string): void {
    const what = "config may be truncated because its file system is full";
    const remedy = "free space, then save it again";
    this.log.warn(`${what}; ${this.#consequence}`, { config: file, remedy });
    this.state.warnings.set("config", `${file}: ${what}; ${remedy}; ${this.#consequence}`);
  }

  get #consequence(): string {
    return this.policy ? "last good policy stays active" : "no rules are written";
  }

  #hung(deadline: number | undefined): void {
    const { config: path } = this.settings;
    if (deadline === undefined) {
      this.log.info("config can be read again", { config: path });
      this.state.config = this.#record;
      return;
    }
    const problem = timedOut(path, deadline);
    this.log.warn(`${problem.what}, ${this.#consequence}`, { config: path, remedy: problem.remedy });
    this.state.config = { path, ok: false, problems: [problem], digest: this.#record?.digest ?? "" };
  }
}

/** Triggers after which the config is read again. The source of the config reports its changes itself. */
const RELOADS: ReadonlySet<Trigger> = new Set(["start", "interval", "signal"]);

const RESYNC_MS = 60_000;
/** Milliseconds that a sync waits for the config while a policy is in force. Reading usually takes only a few. */
const READ_MS = 250;
/** The garbage of reading a file of this size, in bytes, is collected at once: 4 MiB leave 100 MB behind. */
const LARGE = 512 * 1024;
