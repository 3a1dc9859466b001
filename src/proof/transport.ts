import type { PortRange } from "../net/ports.ts";
import { type Ranges, united } from "../net/ranges.ts";

/**
 * Protocols with destination ports as one number: the protocol's number, then 16 bits. Protocols without ports have
 * other data at that place of the packet.
 */
const PORTS = 65_536;
const PROTOCOLS = 256;

export const EVERY_TRANSPORT: Ranges = [[0, PROTOCOLS * PORTS - 1]];

/** The numbers of the IANA's registry. */
const NUMBERS: Readonly<Record<string, number>> = {
  icmp: 1,
  igmp: 2,
  tcp: 6,
  udp: 17,
  dccp: 33,
  gre: 47,
  esp: 50,
  ah: 51,
  icmpv6: 58,
  "ipv6-icmp": 58,
  vrrp: 112,
  sctp: 132,
  udplite: 136,
};

/** The packets of protocols, by name or number; undefined if a name is not known. */
export function protocolRanges(names: readonly string[]): Ranges | undefined {
  const numbers = names.map(name => (/^\d{1,3}$/.test(name) ? Number(name) : NUMBERS[name]));
  const known = numbers.filter(it => it !== undefined);
  if (known.length < numbers.length) return undefined;
  return united(known.map(number => [number * PORTS, number * PORTS + PORTS - 1]));
}

/** The packets with a destination port, in any protocol. */
export function portRanges(ports: readonly PortRange[]): Ranges {
  const all = Array.from({ length: PROTOCOLS }, (_, number) =>
    ports.map(({ first, last }): [number, number] => [number * PORTS + first, number * PORTS + last]),
  );
  return united(all.flat());
}

/** Ranges in words, such as `tcp port 80-90`. */
export function transportNames(ranges: Ranges): string[] {
  return ranges.map(([start, end]) => {
    const [first, last] = [Number(start), Number(end)];
    const [protocol, lastProtocol] = [Math.floor(first / PORTS), Math.floor(last / PORTS)];
    if (protocol !== lastProtocol) return `${nameOf(protocol)} to ${nameOf(lastProtocol)}`;
    const [port, lastPort] = [first % PORTS, last % PORTS];
    if (port === 0 && lastPort === PORTS - 1) return nameOf(protocol);
    return `${nameOf(protocol)} port ${port === lastPort ? port : `${port}-${lastPort}`}`;
  });
}

function nameOf(protocol: number): string {
  return Object.entries(NUMBERS).find(([, number]) => number === protocol)?.[0] ?? `protocol ${protocol}`;
}
