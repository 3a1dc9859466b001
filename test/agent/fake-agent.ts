import { jest } from "bun:test";
import { setImmediate } from "node:timers/promises";
import { Agent } from "../../src/agent/agent.ts";
import type { ConfigEvents } from "../../src/agent/config-reader.ts";
import { type ConfigSource, DesiredPolicy } from "../../src/agent/desired-policy.ts";
import { type Holder, StandbyError } from "../../src/agent/node-lock.ts";
import { Failover } from "../../src/backends/failover.ts";
import { parseConfig } from "../../src/config/load.ts";
import type { Sources } from "../../src/config/sources.ts";
import { createLog } from "../../src/observe/log.ts";
import { fakes } from "../backends/fake-backend.ts";
import { agentState, onSync } from "../observe/agent-states.ts";
import { DEFAULT_FLAGS } from "../policies.ts";

/** A config that a test sets. */
class FakeConfig implements ConfigSource {
  complete: Sources | undefined;
  #watching = false;

  constructor(readonly events: ConfigEvents) {}

  set(text: string): void {
    this.complete = sourcesOf(text);
    if (this.#watching) this.events.changed();
  }

  watch(): void {
    this.#watching = true;
  }

  stop(): void {
    this.#watching = false;
  }

  look(): void {}

  release(): void {}

  async latest(): Promise<Sources | undefined> {
    return this.complete;
  }
}

function sourcesOf(text: string): Sources {
  const files = [{ path: "/config", bytes: Buffer.from(`${text}\n`) }];
  return { path: "/config", files, problems: [], missing: false, digest: text };
}

// Loads the parsers now, because loading takes real time.
await parseConfig(sourcesOf("nonMasqueradeCIDRs: [10.0.0.1/8]"), {
  enableIPv6: undefined,
  missing: undefined,
});

/** A node lock that another agent may hold. */
class FakeLock {
  onFree: () => void = () => {};
  holder: Holder | undefined;

  get isActive(): boolean {
    return this.holder === undefined;
  }

  async take(): Promise<void> {
    if (this.holder) throw new StandbyError(this.holder);
  }

  free(): void {
    this.holder = undefined;
    this.onFree();
  }
}

/**
 * An agent with a fake config, backends, lock and clock. Time passes only in {@link pass}, which needs
 * `jest.useFakeTimers()`.
 */
export class FakeAgent {
  readonly backends = fakes();
  readonly lock = new FakeLock();
  readonly state = agentState();
  readonly log: ReturnType<typeof createLog>;
  readonly agent: Agent;
  readonly config: FakeConfig;
  /** How often the agent announced a new policy. */
  newPolicies = 0;
  #lines: string[] = [];
  #syncs: string[] = [];
  readonly #start = performance.now();
  readonly #stop = new AbortController();
  #ended: Promise<void> = Promise.resolve();

  /** @param node if nft crashes, iptables is chosen instead */
  constructor(node: "nft works" | "nft crashes" = "nft works") {
    this.log = createLog("info", "text", line => this.#lines.push(line.trimEnd().replace(/^\S+ /, "")));
    const { nft, chosen } = this.backends;
    const [preferred, backend = chosen.backend] = chosen.alternatives;
    const crashes = node === "nft crashes";
    if (crashes) nft.become("crashed");
    const fallback = crashes && preferred ? { backend, preferred, failure: "nft: crashed" } : {};
    const settings = {
      config: "/config",
      flags: { ...DEFAULT_FLAGS, enableIPv6: undefined },
      resyncInterval: undefined,
    };
    let source: FakeConfig | undefined;
    const desired = new DesiredPolicy(settings, this.state, this.log, events => {
      source = new FakeConfig(events);
      return source;
    });
    if (!source) throw new Error("the desired policy opened no config");
    this.config = source;
    this.agent = new Agent({
      desired,
      backend: new Failover({ ...chosen, ...fallback }),
      state: this.state,
      log: this.log,
      lock: this.lock,
    });
    onSync(this.state, ({ trigger, result }) =>
      this.#syncs.push(`${Math.round(performance.now() - this.#start)} ms ${trigger}: ${result}`),
    );
  }

  /** Starts the loop, and runs everything that takes no time. */
  async start(): Promise<void> {
    this.#ended = this.agent.run(this.#stop.signal, { newPolicy: () => this.newPolicies++ });
    await settled();
  }

  async end(): Promise<void> {
    this.#stop.abort();
    await this.#ended;
  }

  requestSync(): void {
    this.agent.requestSync();
  }

  /** Lets so many milliseconds pass. */
  async pass(milliseconds: number): Promise<void> {
    let passed = false;
    setTimeout(() => {
      passed = true;
    }, milliseconds);
    while (!passed) {
      await settled();
      jest.advanceTimersToNextTimer();
    }
    await settled();
  }

  /** The syncs since the last call. */
  syncs(): string[] {
    return this.#syncs.splice(0);
  }

  /** The log since the last call. */
  lines(): string[] {
    return this.#lines.splice(0);
  }

  /** All rules in the kernel. */
  kernel(): string[] {
    return this.backends.kernel();
  }
}

/** Resolves when everything that waits for no timer has run. */
export async function settled(): Promise<void> {
  for (let i = 0; i < 3; i++) await setImmediate();
}
