import { dlopen, ptr } from "bun:ffi";
import type { Frames } from "./frames.ts";

/** From <sys/socket.h>, <linux/if_packet.h> and <linux/if_ether.h>, on 64-bit Linux. */
const AF_PACKET = 17;
const SOCK_RAW = 3;
const MMSGHDR = 64;
const IOVEC = 16;
const SOCKADDR_LL = 20;

/** Sends Ethernet frames on an interface, many with one system call. */
export class PacketSocket {
  readonly #libc = dlopen("libc.so.6", {
    socket: { args: ["i32", "i32", "i32"], returns: "i32" },
    if_nametoindex: { args: ["ptr"], returns: "u32" },
    bind: { args: ["i32", "ptr", "u32"], returns: "i32" },
    sendmmsg: { args: ["i32", "ptr", "u32", "i32"], returns: "i32" },
  }).symbols;
  readonly #socket: number;

  /**
   * @param name an interface in the network namespace of this process
   * @throws Error if the socket cannot be opened
   */
  constructor(name: string) {
    // With protocol 0 the socket receives nothing.
    this.#socket = this.#libc.socket(AF_PACKET, SOCK_RAW, 0);
    const address = new DataView(new ArrayBuffer(SOCKADDR_LL));
    address.setUint16(0, AF_PACKET, true);
    address.setUint32(4, this.#libc.if_nametoindex(ptr(Buffer.from(`${name}\0`))), true);
    if (this.#libc.bind(this.#socket, ptr(address), SOCKADDR_LL) !== 0) {
      throw new Error(`no packet socket on ${name}; the interface must be up, and CAP_NET_RAW is needed`);
    }
  }

  /** Prepares frames for `send`. Their ports may change afterwards. */
  prepare(frames: Frames): Prepared {
    const vectors = new DataView(new ArrayBuffer(IOVEC * frames.count));
    const headers = new DataView(new ArrayBuffer(MMSGHDR * frames.count));
    for (let i = 0; i < frames.count; i++) {
      vectors.setBigUint64(i * IOVEC, BigInt(ptr(frames.bytes, i * frames.length)), true);
      vectors.setBigUint64(i * IOVEC + 8, BigInt(frames.length), true);
      headers.setBigUint64(i * MMSGHDR + 16, BigInt(ptr(vectors, i * IOVEC)), true);
      headers.setBigUint64(i * MMSGHDR + 24, 1n, true);
    }
    return { frames, vectors, headers };
  }

  /** Sends the first frames, and returns the number that was accepted. A veth pair has delivered them by then. */
  send({ headers }: Prepared, count: number): number {
    return Math.max(this.#libc.sendmmsg(this.#socket, ptr(headers), count, 0), 0);
  }
}

/** Buffers that point into each other; keep all while one is in use. */
export interface Prepared {
  readonly frames: Frames;
  readonly vectors: DataView;
  readonly headers: DataView;
}
