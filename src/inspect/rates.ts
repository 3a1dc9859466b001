import type { Status } from "./status.ts";

/** A line of the status with a count. Without a CIDR, it is about the destinations outside of all CIDRs. */
interface Counted {
  readonly family: string;
  readonly cidr?: string;
  readonly verdict?: string;
  readonly connections?: number | undefined;
}

/** Returns the connections per second of a line; undefined if they are not known. */
export type Rates = (line: Counted) => number | undefined;

/** Computes rates from one look at a status to the next. */
export class RateMeter {
  #counts = new Map<string, number | undefined>();
  #at: number | undefined;

  /**
   * Returns the rates since the last look.
   *
   * @param now milliseconds of a monotonic clock
   */
  look({ cidrs, outbound }: Pick<Status, "cidrs" | "outbound">, now: number): Rates {
    const before = this.#counts;
    const seconds = this.#at === undefined ? undefined : (now - this.#at) / 1000;
    this.#at = now;
    this.#counts = new Map([...cidrs, ...outbound].map(it => [keyOf(it), it.connections]));
    return line => {
      const last = before.get(keyOf(line));
      const { connections } = line;
      if (seconds === undefined || last === undefined || connections === undefined) return undefined;
      return connections < last ? undefined : (connections - last) / seconds;
    };
  }
}

function keyOf({ family, cidr, verdict }: Counted): string {
  return `${family} ${verdict ?? ""} ${cidr ?? ""}`;
}
