import type { Counters } from "./counters.ts";
import type { Namespace } from "./namespace.ts";
import { SECONDS } from "./timeouts.ts";
import { familyOf } from "./topology.ts";

/** Real pings from the Pod, one at a time: a count that grows belongs to the current ping. */
export class Echo {
  #last: Promise<unknown> = Promise.resolve();
  readonly #counted = new Map<string, number>();

  readonly #pod: Namespace;
  readonly #servers: readonly Counters[];

  constructor(pod: Namespace, servers: readonly Counters[]) {
    this.#pod = pod;
    this.#servers = servers;
  }

  /**
   * Sends one echo request. Returns the source addresses that the servers saw since the previous one.
   *
   * @throws Error with ping's message if it could not send
   */
  send(to: string, from: string | undefined): Promise<string[]> {
    const sent = this.#last.then(() => this.#send(to, from));
    this.#last = sent.catch(() => {});
    return sent;
  }

  async #send(to: string, from: string | undefined): Promise<string[]> {
    const family = familyOf(to);
    const source = from === undefined ? [] : ["-I", from];
    const version = family === "ip" ? "-4" : "-6";
    const ping = ["ping", version, "-n", "-q", "-c", "1", "-W", `${SECONDS}`, ...source, to];
    const { exitCode, stderr } = await this.#pod.run(ping);
    if (exitCode > 1) throw new Error(stderr.trim()); // 1 means that no answer came
    const counts = (await Promise.all(this.#servers.map(server => server.read("pings", family)))).flat();
    const grown = counts.filter(({ destination, source, packets }) => {
      const key = `${destination} ${source}`;
      const before = this.#counted.get(key) ?? 0;
      this.#counted.set(key, packets);
      return packets > before;
    });
    return grown.map(({ source }) => source);
  }
}
