import { parseConfig } from "../config/load.ts";
import { formatProblems, type Problem } from "../config/problem.ts";
import { readSources, type Sources } from "../config/sources.ts";
import type { Journal } from "../observe/journal.ts";
import type { Log } from "../observe/log.ts";
import { type Policy, type PolicyFlags, policyOf } from "../policy/policy.ts";

/** Where the agent's config is, and what else decides what it does. */
export interface Settings {
  /** Path of the config. */
  readonly config: string;
  /** What it is if nothing is there; undefined if that simply means the defaults. */
  readonly missing?: Problem["severity"] | undefined;
  readonly flags: PolicyFlags;
  /** Milliseconds; undefined if the config is to say. */
  readonly resyncInterval: number | undefined;
}

/** The policy that the config means, as of the last time that it was right. */
export class Intent {
  policy: Policy | undefined;
  /** Whether the policy has not been in the kernel yet. */
  fresh = false;
  /** Milliseconds. */
  interval: number;
  #digest: string | undefined;

  constructor(
    readonly settings: Settings,
    readonly journal: Journal,
    readonly log: Log,
  ) {
    this.interval = settings.resyncInterval ?? RESYNC_MS;
  }

  /** Reads the config, if it changed. One that is wrong changes nothing else, and is logged once. */
  async read(): Promise<void> {
    const { config: path, flags } = this.settings;
    const sources = this.#digest === undefined ? await readSources(path) : await settled(path, this.#digest);
    const { digest } = sources;
    if (digest === this.#digest) return;
    this.#digest = digest;
    const loaded = await parseConfig(sources, {
      enableIPv6: flags.enableIPv6,
      missing: this.settings.missing,
    });
    this.journal.config = { path, ok: loaded.ok, problems: loaded.problems, digest };
    const of = (severity: Problem["severity"]) =>
      formatProblems(loaded.problems.filter(it => it.severity === severity));
    for (const line of of("error")) this.log.error(line);
    for (const line of of("warning")) this.log.warn(line);
    if (loaded.ok) {
      this.policy = policyOf(loaded.config, flags);
      this.journal.policy = this.policy;
      this.fresh = true;
      this.interval = this.settings.resyncInterval ?? loaded.config.resyncInterval?.value ?? RESYNC_MS;
      this.journal.interval = this.interval;
    } else {
      const stays = this.policy ? "so the last good one stays in force" : "so the kernel is left as it is";
      this.log.error(`the config is wrong, ${stays}`, { config: path });
    }
  }
}

/** A policy in a few words, for the log. */
export function facts({ families, outputInterfaces, chain }: Policy): Record<string, string> {
  return Object.fromEntries([
    ["chain", chain],
    ...families.flatMap(({ family, nonMasquerade, masquerade, sources, nonMasqueradeSources: spared }) => {
      const suffix = family === "ip" ? "" : "IPv6";
      return [
        [`nonMasquerade${suffix}`, listed(nonMasquerade.outer)],
        ...(masquerade.outer.length > 0 ? [[`masquerade${suffix}`, listed(masquerade.outer)]] : []),
        ...(spared.outer.length > 0 ? [[`nonMasqueradeSources${suffix}`, listed(spared.outer)]] : []),
        ...(sources ? [[`sources${suffix}`, listed(sources.outer)]] : []),
      ];
    }),
    ...(outputInterfaces ? [["outputInterfaces", outputInterfaces.join(" ")]] : []),
  ]);
}

type Entries = Policy["families"][number]["nonMasquerade"]["outer"];

function listed(entries: Entries): string {
  const first = entries.slice(0, MOST_LISTED).map(({ cidr }) => cidr.text);
  const more = entries.length - first.length;
  return [...first, ...(more > 0 ? [`and ${more} more`] : [])].join(" ") || "none";
}

const MOST_LISTED = 8;
const RESYNC_MS = 60_000;

/**
 * What lies at the path when nothing moves there any more: a program that writes the file in place empties it
 * first, and an empty config means something.
 */
async function settled(path: string, digest: string): Promise<Sources> {
  let sources = await readSources(path);
  for (let i = 0; i < MOST_LOOKS && sources.digest !== digest; i++) {
    const before = sources.digest;
    await Bun.sleep(SETTLE_MS);
    sources = await readSources(path);
    if (sources.digest === before) break;
  }
  return sources;
}

const SETTLE_MS = 20;
const MOST_LOOKS = 25;
