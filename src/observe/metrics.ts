import Counter from "prom-client/lib/counter.js";
import Gauge from "prom-client/lib/gauge.js";
import Histogram from "prom-client/lib/histogram.js";
import mostFiles from "prom-client/lib/metrics/processMaxFileDescriptors.js";
import openFiles from "prom-client/lib/metrics/processOpenFileDescriptors.js";
import startTime from "prom-client/lib/metrics/processStartTime.js";
import Registry from "prom-client/lib/registry.js";
import { readConntrack } from "../inspect/conntrack.ts";
import { messageOf } from "../system/errors.ts";
import type { AgentState } from "./agent-state.ts";
import type { Log } from "./log.ts";

/** Seconds. A sync of the defaults takes 15 ms, one of 100,000 CIDRs some seconds. */
const BUCKETS = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30];

const FORMAT = new Registry();

/** The metrics of a state, for Prometheus. A metric that fails is left out and logged once. */
export class Metrics {
  readonly #registry = new Registry();
  /** Apart, since it says nothing where the kernel tracks no connections. */
  readonly #conntrackRegistry = new Registry();
  /** Functions that update metrics from values kept elsewhere. */
  readonly #updates: { readonly of: string; readonly work: () => void }[] = [];
  readonly #conntrack = {
    entries: this.#plainGauge("conntrack_entries", "Connections that the kernel tracks."),
    limit: this.#plainGauge("conntrack_limit", "Connections that the kernel can track."),
    insertFailed: new Counter({
      name: "ipmasq_conntrack_insert_failed_total",
      help: "Connections that found no place in the kernel's table, or no free port.",
      registers: [this.#conntrackRegistry],
    }),
  };
  /** Metrics whose failure was logged. */
  readonly #failed = new Set<string>();

  /** @param mostCidrs how many CIDRs have series of their own */
  constructor(
    readonly state: AgentState,
    readonly log: Log,
    readonly mostCidrs: number,
  ) {
    this.#build();
    this.#syncs();
    this.#config();
    this.#connections();
    this.#process();
  }

  /** What Prometheus' text format calls itself. */
  static get contentType(): string {
    return FORMAT.contentType;
  }

  /** All of them in Prometheus' text format, in pieces. */
  async print(): Promise<Iterable<string>> {
    for (const { of, work } of this.#updates) this.#guarded(of, work);
    const conntrack = await readConntrack();
    if (conntrack) {
      const { entries, limit, insertFailed } = this.#conntrack;
      entries.set(conntrack.entries);
      limit.set(conntrack.limit);
      this.#guarded("ipmasq_conntrack_insert_failed_total", () => {
        insertFailed.reset();
        insertFailed.inc(conntrack.insertFailed ?? 0);
      });
    }
    const texts: string[] = [];
    for (const registry of [this.#registry, ...(conntrack ? [this.#conntrackRegistry] : [])]) {
      for (const metric of registry.getMetricsAsArray()) {
        try {
          texts.push(`${await registry.getSingleMetricAsString(metric.name)}\n\n`);
        } catch (error) {
          this.#report(metric.name, error);
        }
      }
    }
    return this.#withCidrs(texts);
  }

  *#withCidrs(texts: readonly string[]): Generator<string> {
    yield* texts;
    const ofPackets = "counted by the first packet of each connection";
    yield* this.#cidrSeries("connections", "Connections to a CIDR of the policy.");
    yield* this.#cidrSeries("bytes", `Bytes to a CIDR of the policy, ${ofPackets}.`);
  }

  /** Generated here because there may be many, and prom-client keeps an object for each. */
  *#cidrSeries(what: "connections" | "bytes", help: string): Generator<string> {
    const name = `ipmasq_cidr_${what}_total`;
    yield `# HELP ${name} ${help}\n# TYPE ${name} counter\n`;
    let left = this.mostCidrs;
    for (const { cidr, verdict, [what]: value } of this.state.totals.counters) {
      if (!cidr) continue;
      if (left-- <= 0) break;
      if (isCount(value)) yield `${name}{cidr="${cidr.text}",verdict="${verdict}"} ${value}\n`;
      else this.#report(name, new Error(`${cidr.text} has ${value}`));
    }
    yield "\n";
  }

  #guarded(of: string, work: () => void): void {
    try {
      work();
    } catch (error) {
      this.#report(of, error);
    }
  }

  #report(metric: string, error: unknown): void {
    if (this.#failed.has(metric)) return;
    this.#failed.add(metric);
    this.log.error("a metric is left out; please report this", { metric, error: messageOf(error) });
  }

  #build(): void {
    const { version, commit, bun } = this.state.build;
    const info = new Gauge({
      name: "ipmasq_build_info",
      help: "What this is a build of, and what it writes with. Always 1.",
      labelNames: ["version", "commit", "bun", "backend", "writer"],
      registers: [this.#registry],
    });
    this.#update("ipmasq_build_info", () => {
      const { backend = "none", writer = "none" } = this.state.backend ?? {};
      info.reset();
      info.set({ version, commit, bun, backend, writer }, 1);
    });
  }

  #syncs(): void {
    const { state } = this;
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
    state.onSync(({ trigger, result, seconds }) => {
      syncs.inc({ trigger, result });
      durations.observe(seconds);
      if (result === "repaired") repairs.inc();
    });
    this.#gauge(
      "last_success_timestamp_seconds",
      "When a sync last succeeded, in seconds since 1970.",
      () => (state.lastSuccess ?? 0) / 1000,
    );
    this.#gauge("kernel_in_sync", "1 if the kernel held our rules when it was last looked at, else 0.", () =>
      Number(state.inSync),
    );
    this.#gauge(
      "competing_rules",
      "Foreign rules that conflict with the policy, as of the last look.",
      () => state.conflicts.filter(({ harmless }) => !harmless).length,
    );
    this.#gauge(
      "fallback",
      "1 while another backend writes the rules because the preferred one fails, else 0.",
      () => Number(state.backend?.fallback ?? false),
    );
    this.#gauge("fighting", "1 while somebody changes our rules again and again, else 0.", () =>
      Number(state.contested),
    );
  }

  #config(): void {
    const { state } = this;
    this.#gauge("config_good", "1 if the config is right, 0 if it is wrong and an older one in force.", () =>
      Number(state.config?.ok ?? false),
    );
    this.#gauge("config_hash", "The first 48 bits of the hash of the config's files.", () =>
      Number.parseInt(state.config?.digest.slice(0, 12) || "0", 16),
    );
    this.#gauge("config_cidrs", "CIDRs of the policy in force, those that lie in others too.", () => {
      const lists = (state.policy?.families ?? []).flatMap(family => [
        family.nonMasquerade,
        family.masquerade,
        family.nonMasqueradeSources,
        ...(family.sources ? [family.sources] : []),
      ]);
      return lists.reduce((sum, { effective, redundant }) => sum + effective.length + redundant.length, 0);
    });
  }

  #connections(): void {
    const { totals } = this.state;
    const total = (name: string, help: string, labelNames: string[]) =>
      new Counter({ name: `ipmasq_${name}`, help, labelNames, registers: [this.#registry] });
    const ofPackets = "counted by the first packet of each connection";
    const byVerdict = {
      connections: total("connections_total", "Connections that our rules saw, by verdict.", ["verdict"]),
      bytes: total("bytes_total", `Bytes by verdict, ${ofPackets}.`, ["verdict"]),
    };
    for (const verdict of ["keep", "masquerade"] as const) {
      for (const what of ["connections", "bytes"] as const) {
        this.#update(`ipmasq_${what}_total`, () => {
          const value = totals.byVerdict[verdict][what];
          if (!isCount(value)) throw new Error(`${verdict} has ${value}`);
          byVerdict[what].remove(verdict);
          byVerdict[what].inc({ verdict }, value);
        });
      }
    }
    this.#gauge(
      "cidr_series_left_out",
      "CIDRs that have no series of their own, because of --metrics-cidr-limit.",
      () => {
        let cidrs = 0;
        for (const { cidr } of totals.counters) if (cidr) cidrs++;
        return Math.max(cidrs - this.mostCidrs, 0);
      },
    );
  }

  /** The standard process metrics, for this process without programs that it runs. */
  #process(): void {
    for (const collect of [startTime, openFiles, mostFiles])
      this.#guarded("process", () => collect(this.#registry));
    const cpu = new Counter({
      name: "process_cpu_seconds_total",
      help: "Total user and system CPU time spent in seconds.",
      registers: [this.#registry],
    });
    this.#update("process_cpu_seconds_total", () => {
      const { user, system } = process.cpuUsage();
      cpu.reset();
      cpu.inc((user + system) / 1e6);
    });
    const memory = new Gauge({
      name: "process_resident_memory_bytes",
      help: "Resident memory size in bytes.",
      registers: [this.#registry],
    });
    this.#update("process_resident_memory_bytes", () => memory.set(process.memoryUsage.rss()));
  }

  #update(of: string, work: () => void): void {
    this.#updates.push({ of, work });
  }

  #gauge(name: string, help: string, value: () => number): void {
    const gauge = new Gauge({ name: `ipmasq_${name}`, help, registers: [this.#registry] });
    this.#update(`ipmasq_${name}`, () => gauge.set(value()));
  }

  #plainGauge(name: string, help: string): Gauge {
    return new Gauge({ name: `ipmasq_${name}`, help, registers: [this.#conntrackRegistry] });
  }
}

/** Whether a counter can have this value. */
function isCount(value: number): boolean {
  return Number.isFinite(value) && value >= 0;
}
