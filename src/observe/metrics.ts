import Counter from "prom-client/lib/counter.js";
import Gauge from "prom-client/lib/gauge.js";
import Histogram from "prom-client/lib/histogram.js";
import Registry from "prom-client/lib/registry.js";
import type { Counter as Counted } from "../backends/backend.ts";
import { readConntrack } from "../inspect/conntrack.ts";
import type { Journal } from "./journal.ts";

/** Seconds. A sync of the defaults takes 15 ms, one of 100,000 CIDRs some seconds. */
const BUCKETS = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30];

/** The metrics of a journal, for Prometheus. */
export class Metrics {
  readonly #registry = new Registry();
  /** Apart, since it says nothing where the kernel tracks no connections. */
  readonly #conntrackRegistry = new Registry();
  /** What brings metrics up to date whose numbers somebody else keeps. */
  readonly #updates: (() => void)[] = [];
  readonly #conntrack = {
    entries: this.#plainGauge("conntrack_entries", "Connections that the kernel tracks."),
    limit: this.#plainGauge("conntrack_limit", "Connections that the kernel can track."),
    insertFailed: new Counter({
      name: "ipmasq_conntrack_insert_failed_total",
      help: "Connections that found no place in the kernel's table, or no free port.",
      registers: [this.#conntrackRegistry],
    }),
  };

  constructor(readonly journal: Journal) {
    this.#build();
    this.#syncs();
    this.#config();
    this.#connections();
  }

  /** What Prometheus' text format calls itself. */
  get contentType(): string {
    return this.#registry.contentType;
  }

  /** All of them in Prometheus' text format. */
  async print(): Promise<string> {
    for (const update of this.#updates) update();
    const conntrack = await readConntrack();
    if (!conntrack) return this.#registry.metrics();
    const { entries, limit, insertFailed } = this.#conntrack;
    entries.set(conntrack.entries);
    limit.set(conntrack.limit);
    insertFailed.reset();
    insertFailed.inc(conntrack.insertFailed ?? 0);
    return `${await this.#registry.metrics()}${await this.#conntrackRegistry.metrics()}`;
  }

  #build(): void {
    const { version, commit, bun } = this.journal.start;
    const info = new Gauge({
      name: "ipmasq_build_info",
      help: "What this is a build of, and what it writes with. Always 1.",
      labelNames: ["version", "commit", "bun", "backend", "writer"],
      registers: [this.#registry],
    });
    this.#updates.push(() => {
      const { backend = "none", writer = "none" } = this.journal.backend ?? {};
      info.reset();
      info.set({ version, commit, bun, backend, writer }, 1);
    });
  }

  #syncs(): void {
    const { journal } = this;
    const registers = [this.#registry];
    const syncs = new Counter({
      name: "ipmasq_syncs_total",
      help: "Syncs, by what triggered them and how they ended.",
      labelNames: ["trigger", "result"],
      registers,
    });
    const durations = new Histogram({
      name: "ipmasq_sync_duration_seconds",
      help: "How long syncs took.",
      buckets: BUCKETS,
      registers,
    });
    const repairs = new Counter({
      name: "ipmasq_drift_repairs_total",
      help: "Syncs that found our rules changed by somebody, and repaired them.",
      registers,
    });
    journal.follow(({ trigger, result, seconds }) => {
      syncs.inc({ trigger, result });
      durations.observe(seconds);
      if (result === "repaired") repairs.inc();
    });
    this.#gauge(
      "last_success_timestamp_seconds",
      "When a sync last succeeded, in seconds since 1970.",
      () => (journal.lastSuccess ?? 0) / 1000,
    );
    this.#gauge("kernel_in_sync", "1 if the kernel held our rules when it was last looked at, else 0.", () =>
      Number(journal.inSync),
    );
    this.#gauge(
      "competing_rules",
      "Rules of others that masquerade what the policy keeps, when last looked for.",
      () => journal.competing.filter(({ harmless }) => !harmless).length,
    );
    this.#gauge("fighting", "1 while somebody changes our rules again and again, else 0.", () =>
      Number(journal.fighting),
    );
  }

  #config(): void {
    const { journal } = this;
    this.#gauge("config_good", "1 if the config is right, 0 if it is wrong and an older one in force.", () =>
      Number(journal.config?.ok ?? false),
    );
    this.#gauge("config_hash", "The first 48 bits of the hash of the config's files.", () =>
      Number.parseInt(journal.config?.digest.slice(0, 12) || "0", 16),
    );
    this.#gauge("config_cidrs", "CIDRs of the policy in force, those that lie in others too.", () => {
      const lists = (journal.policy?.families ?? []).flatMap(family => [
        family.nonMasquerade,
        family.masquerade,
        family.nonMasqueradeSources,
        ...(family.sources ? [family.sources] : []),
      ]);
      return lists.reduce((sum, { outer, covered }) => sum + outer.length + covered.length, 0);
    });
  }

  #connections(): void {
    const { totals } = this.journal;
    const total = (name: string, help: string, labelNames: string[]) =>
      new Counter({ name: `ipmasq_${name}`, help, labelNames, registers: [this.#registry] });
    const ofPackets = "counted by the first packet of each connection";
    const byVerdict = {
      connections: total("connections_total", "Connections that our rules saw, by verdict.", ["verdict"]),
      bytes: total("bytes_total", `Bytes by verdict, ${ofPackets}.`, ["verdict"]),
    };
    const labels = ["cidr", "verdict"];
    const byCidr = {
      connections: total("cidr_connections_total", "Connections to a CIDR of the policy.", labels),
      bytes: total("cidr_bytes_total", `Bytes to a CIDR of the policy, ${ofPackets}.`, labels),
    };
    const add = (
      to: { connections: Counter; bytes: Counter },
      of: Record<string, string>,
      { connections, bytes }: Pick<Counted, "connections" | "bytes">,
    ) => {
      to.connections.inc(of, connections);
      to.bytes.inc(of, bytes);
    };
    this.#updates.push(() => {
      for (const { connections, bytes } of [byVerdict, byCidr]) {
        connections.reset();
        bytes.reset();
      }
      for (const [verdict, count] of Object.entries(totals.byVerdict)) add(byVerdict, { verdict }, count);
      for (const count of totals.counters)
        if (count.cidr) add(byCidr, { cidr: count.cidr.text, verdict: count.verdict }, count);
    });
  }

  #gauge(name: string, help: string, value: () => number): void {
    const gauge = new Gauge({ name: `ipmasq_${name}`, help, registers: [this.#registry] });
    this.#updates.push(() => gauge.set(value()));
  }

  #plainGauge(name: string, help: string): Gauge {
    return new Gauge({ name: `ipmasq_${name}`, help, registers: [this.#conntrackRegistry] });
  }
}
