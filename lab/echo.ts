import type { Family } from "../src/net/cidr.ts";
import type { Counters } from "./counters.ts";
import type { Namespace } from "./namespace.ts";
import { SECONDS } from "./timeouts.ts";
import { familyOf } from "./topology.ts";

/** Real pings from the Pod, one at a time, so that whatever a server counts anew is the one under way. */
export class Echo {
  #last: Promise<unknown> = Promise.resolve();
  readonly #counted = new Map<string, number>();

  constructor(
    private readonly pod: Namespace,
    private readonly servers: readonly Counters[],
  ) {}

  /**
   * Sends one echo request. Returns the source addresses that servers saw since the last one.
   *
   * @throws Error with what ping said if it could not send one
   */
  send(to: string, from: string | undefined): Promise<string[]> {
    const sent = this.#last.then(() => this.#send(to, from));
    this.#last = sent.catch(() => {});
    return sent;
  }

  async #send(to: string, from: string | undefined): Promise<string[]> {
    const family = familyOf(to);
    const version = family === "ip" ? "-4" : "-6";
    const source = from === undefined ? [] : ["-I", from];
    const ping = ["ping", version, "-n", "-q", "-c", "1", "-W", `${SECONDS}`, ...source, to];
    const { exitCode, stderr } = await this.pod.run(ping);
    if (exitCode > 1) throw new Error(stderr.trim()); // 1 is for an answer that did not come
    return this.#news(family);
  }

  async #news(family: Family): Promise<string[]> {
    const counts = (await Promise.all(this.servers.map(server => server.read("pings", family)))).flat();
    const news = counts.filter(({ destination, source, packets }) => {
      const key = `${destination} ${source}`;
      const grown = packets > (this.#counted.get(key) ?? 0);
      this.#counted.set(key, packets);
      return grown;
    });
    return news.map(({ source }) => source);
  }
}
