/** Ethernet frames that open a connection: an empty UDP datagram, or the SYN of a TCP connection. */

export type Protocol = "udp" | "tcp";

/** Addresses of one path through a node. */
export interface Addresses {
  readonly sourceMac: string;
  /** The MAC address of the node's interface. */
  readonly gatewayMac: string;
  readonly source: string;
  readonly destination: string;
}

const ETHERNET = 14;
const IP = 20;
const LENGTH = { udp: ETHERNET + IP + 8, tcp: ETHERNET + IP + 20 } as const;

/** A buffer of frames of one protocol on one path, with different ports. */
export class Frames {
  /** The length of each frame; `bytes` holds them in a row. */
  readonly length: number;
  readonly bytes: Uint8Array;
  readonly #view: DataView;
  readonly #sumWithoutPorts: number;

  readonly #protocol: Protocol;

  constructor(
    protocol: Protocol,
    addresses: Addresses,
    readonly count: number,
  ) {
    this.#protocol = protocol;
    const one = template(protocol, addresses);
    this.length = one.length;
    this.bytes = new Uint8Array(one.length * count);
    for (let i = 0; i < count; i++) this.bytes.set(one, i * one.length);
    this.#view = new DataView(this.bytes.buffer);
    this.#sumWithoutPorts = protocol === "tcp" ? tcpSum(one) : 0;
  }

  /** Gives frame `i` the ports of a flow, by its number; 60,000 × 60,000 flows have different ports. */
  setFlow(i: number, flow: number): void {
    const at = i * this.length + ETHERNET + IP;
    const source = 2000 + (flow % PORTS);
    const destination = 2000 + (Math.floor(flow / PORTS) % PORTS);
    this.#view.setUint16(at, source);
    this.#view.setUint16(at + 2, destination);
    if (this.#protocol === "tcp") {
      this.#view.setUint16(at + 16, checksum(this.#sumWithoutPorts + source + destination));
    }
  }
}

const PORTS = 60_000;

function template(protocol: Protocol, { sourceMac, gatewayMac, source, destination }: Addresses): Uint8Array {
  const bytes = new Uint8Array(LENGTH[protocol]);
  const view = new DataView(bytes.buffer);
  bytes.set([...octets(gatewayMac, ":", 16), ...octets(sourceMac, ":", 16), 0x08, 0x00]);
  view.setUint16(ETHERNET, 0x4500);
  view.setUint16(ETHERNET + 2, bytes.length - ETHERNET);
  view.setUint16(ETHERNET + 6, 0x4000); // don't fragment
  view.setUint8(ETHERNET + 8, 64);
  view.setUint8(ETHERNET + 9, protocol === "udp" ? 17 : 6);
  bytes.set([...octets(source, ".", 10), ...octets(destination, ".", 10)], ETHERNET + 12);
  view.setUint16(ETHERNET + 10, checksum(sum(view, ETHERNET, IP)));
  if (protocol === "udp") {
    view.setUint16(ETHERNET + IP + 4, 8); // its length; the checksum 0 means no checksum
  } else {
    view.setUint32(ETHERNET + IP + 4, 1);
    view.setUint16(ETHERNET + IP + 12, 0x5002); // five words of header, SYN
    view.setUint16(ETHERNET + IP + 14, 64_240);
  }
  return bytes;
}

function octets(address: string, separator: string, radix: number): number[] {
  return address.split(separator).map(octet => Number.parseInt(octet, radix));
}

/** The sum over the TCP header and the pseudo header: addresses, protocol and length. */
function tcpSum(frame: Uint8Array): number {
  const view = new DataView(frame.buffer);
  return sum(view, ETHERNET + 12, 8) + 6 + 20 + sum(view, ETHERNET + IP, 20);
}

function sum(view: DataView, start: number, length: number): number {
  let total = 0;
  for (let at = start; at < start + length; at += 2) total += view.getUint16(at);
  return total;
}

/** The checksum of RFC 1071: the ones' complement of the ones' complement sum. */
function checksum(total: number): number {
  const once = (total & 0xffff) + (total >>> 16);
  return ~((once & 0xffff) + (once >>> 16)) & 0xffff;
}
