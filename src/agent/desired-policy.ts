import { parseConfig } from "../config/load.ts";
import { formatProblems, type Problem } from "../config/problem.ts";
import { type Sources, timedOut } from "../config/sources.ts";
import type { AgentState, ConfigRecord, Trigger } from "../observe/agent-state.ts";
import type { Log } from "../observe/log.ts";
import { type Policy, type PolicyFlags, policyOf } from "../policy/policy.ts";
import { ConfigReader, READER_TIMES, type ReaderTimes } from "./config-reader.ts";

/** Where the agent's config is, and what else decides what it does. */
export interface Settings {
  /** Path of the config. */
  readonly config: string;
  /** The severity of a missing path; undefined if it just means the defaults. */
  readonly missing?: Problem["severity"] | undefined;
  readonly flags: PolicyFlags;
  /** Milliseconds; undefined if the config is to say. */
  readonly resyncInterval: number | undefined;
  /** How patiently the config is read. */
  readonly times?: ReaderTimes;
}

/** The policy that the config means, as of the last time that it was right. */
export class DesiredPolicy {
  policy: Policy | undefined;
  /** Whether the policy has not been in the kernel yet. */
  fresh = false;
  /** Milliseconds. */
  interval: number;
  #digest: string | undefined;
  readonly #reader: ConfigReader;
  #changed: () => void = () => {};
  /** What the state says of the config if it can be read. */
  #record: ConfigRecord | undefined;

  constructor(
    readonly settings: Settings,
    readonly state: AgentState,
    readonly log: Log,
  ) {
    this.interval = settings.resyncInterval ?? RESYNC_MS;
    const { config, times = READER_TIMES } = settings;
    this.#reader = new ConfigReader(
      config,
      {
        changed: () => this.#changed(),
        lost: reason => log.warn("lost the file change events; config changes may apply late", { reason }),
        writing: () => log.warn("config is being written; waiting for it to be complete", { config }),
        truncated: file =>
          log.warn("config may be truncated, its file system is full; last good policy stays active", {
            config: file,
            remedy: "free space, then save it again",
          }),
        hung: deadline => this.#hung(deadline),
      },
      times,
    );
  }

  /** From now on `changed` is called when there is something new to {@link read}. */
  watch(changed: () => void): void {
    this.#changed = changed;
    this.#reader.watch();
  }

  stop(): void {
    this.#reader.stop();
  }

  /**
   * Reads the config, if it changed and is complete. A wrong config is logged once and changes nothing else.
   *
   * @param triggers why it is read. Repairs do not wait for the config; after an event of the watch it has been read
   *   already
   * @param patience milliseconds to wait for a first config
   */
  async read(triggers: readonly Trigger[], patience: number): Promise<void> {
    const fetched = triggers.every(it => it === "config" || it === "kernel");
    if (fetched && triggers.includes("kernel")) this.#reader.look();
    const wait = this.policy ? Math.min(patience, PATIENCE_MS) : patience;
    const sources =
      fetched && this.#reader.complete ? this.#reader.complete : await this.#reader.latest(wait);
    if (sources && sources.digest !== this.#digest) await this.#use(sources);
  }

  async #use(sources: Sources): Promise<void> {
    const { config: path, flags } = this.settings;
    const { digest } = sources;
    this.#digest = digest;
    const loaded = await parseConfig(sources, {
      enableIPv6: flags.enableIPv6,
      missing: this.settings.missing,
    });
    this.#record = { path, ok: loaded.ok, problems: loaded.problems, digest };
    this.state.config = this.#record;
    const of = (severity: Problem["severity"]) =>
      formatProblems(
        loaded.problems.filter(it => it.severity === severity),
        false,
      );
    for (const line of of("error")) this.log.error(line);
    for (const line of of("warning")) this.log.warn(line);
    if (loaded.ok) {
      const at = Date.now();
      this.state.configAcceptedAt = at;
      this.policy = policyOf(loaded.config, flags);
      this.state.policy = this.policy;
      this.fresh = true;
      this.interval = this.settings.resyncInterval ?? loaded.config.resyncInterval?.value ?? RESYNC_MS;
      this.state.interval = this.interval;
    } else {
      this.log.error(`config rejected, ${this.#stays}`, { config: path });
    }
  }

  get #stays(): string {
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
    this.log.warn(`${problem.what}, ${this.#stays}`, { config: path, remedy: problem.remedy });
    this.state.config = { path, ok: false, problems: [problem], digest: this.#record?.digest ?? "" };
  }
}

/** A policy in a few words, for the log. */
export function facts({ families, outputInterfaces, chain }: Policy): Record<string, string> {
  return Object.fromEntries([
    ["chain", chain],
    ...families.flatMap(({ family, nonMasquerade, masquerade, sources, nonMasqueradeSources: spared }) => {
      const suffix = family === "ip" ? "" : "IPv6";
      return [
        [`nonMasquerade${suffix}`, listed(nonMasquerade.effective)],
        ...(masquerade.effective.length > 0 ? [[`masquerade${suffix}`, listed(masquerade.effective)]] : []),
        ...(spared.effective.length > 0 ? [[`nonMasqueradeSources${suffix}`, listed(spared.effective)]] : []),
        ...(sources ? [[`sources${suffix}`, listed(sources.effective)]] : []),
      ];
    }),
    ...(outputInterfaces ? [["outputInterfaces", outputInterfaces.join(" ")]] : []),
  ]);
}

type Entries = Policy["families"][number]["nonMasquerade"]["effective"];

function listed(entries: Entries): string {
  const first = entries.slice(0, MOST_LISTED).map(({ cidr }) => cidr.text);
  const more = entries.length - first.length;
  return [...first, ...(more > 0 ? [`and ${more} more`] : [])].join(" ") || "none";
}

const MOST_LISTED = 8;
const RESYNC_MS = 60_000;
/** Milliseconds that a sync waits for the config while a policy is in force. A look takes a few. */
const PATIENCE_MS = 250;
