import { type Library, ptr } from "bun:ffi";
import { AF_NETLINK, openLibc, SOCK_CLOEXEC, SOCK_RAW } from "./libc.ts";

/** Functions of the C library, with the types that they have on 64-bit Linux. */
const LIBC = {
  socket: { args: ["i32", "i32", "i32"], returns: "i32" },
  setsockopt: { args: ["i32", "i32", "i32", "ptr", "u32"], returns: "i32" },
  send: { args: ["i32", "ptr", "u64", "i32"], returns: "i64" },
  recv: { args: ["i32", "ptr", "u64", "i32"], returns: "i64" },
  close: { args: ["i32"], returns: "i32" },
} as const;
type Libc = Library<typeof LIBC>;

/** A socket for questions to the kernel. */
export class NetlinkSocket implements Disposable {
  readonly #libc: Libc;
  readonly #socket: number;

  private constructor(libc: Libc, socket: number) {
    this.#libc = libc;
    this.#socket = socket;
  }

  /**
   * Opens a socket. Throws Error, always without the JIT.
   *
   * @param protocol a number of linux/netlink.h
   */
  static async open(protocol: number): Promise<NetlinkSocket> {
    const libc = await openLibc(LIBC);
    const { socket, setsockopt } = libc.symbols;
    const fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, protocol);
    const opened = new NetlinkSocket(libc, fd);
    const timeout = new BigInt64Array([SECONDS, 0n]);
    if (fd >= 0 && setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, ptr(timeout), timeout.byteLength) === 0)
      return opened;
    opened[Symbol.dispose]();
    throw new Error("the kernel refuses a netlink socket");
  }

  /** Sends a message. Returns false if the kernel does not accept it. */
  send(message: Uint8Array): boolean {
    return (
      Number(this.#libc.symbols.send(this.#socket, ptr(message), message.byteLength, 0)) ===
      message.byteLength
    );
  }

  /** Receives a datagram with one or more messages. Returns its length in bytes; negative after 5 s without one. */
  receive(into: DataView): number {
    return Number(this.#libc.symbols.recv(this.#socket, ptr(into), into.byteLength, 0));
  }

  [Symbol.dispose](): void {
    if (this.#socket >= 0) this.#libc.symbols.close(this.#socket);
    this.#libc.close();
  }
}

/** From asm-generic/socket.h. */
const SOL_SOCKET = 1;
const SO_RCVTIMEO = 20;
const SECONDS = 5n;
