import { closeSync } from "node:fs";
import { codeOf, messageOf } from "./errors.ts";
import { AF_NETLINK, NETLINK_ROUTE, openLibc, SOCK_CLOEXEC, SOCK_RAW } from "./libc.ts";

/** Something that runs until it is stopped. */
interface Running {
  stop(): void;
}

/**
 * Calls `changed` when addresses or interfaces of this network namespace may have changed, and once when it begins to
 * listen. `lost` receives the reason if it cannot listen any longer.
 *
 * Listens to rtnetlink, whose socket only bun:ffi can open; that needs the JIT. Measured: 4 ms and 1 MB, and no CPU
 * while nothing changes.
 */
export function addressEvents(changed: () => void, lost: (why: string) => void): Running {
  let cancel: () => void = () => {};
  let isStopped = false;
  const listen = async (): Promise<void> => {
    const fd = await openSocket();
    try {
      if (isStopped) return;
      const reader = Bun.file(fd).stream().getReader();
      cancel = () => void reader.cancel().catch(() => {});
      changed();
      while (!(await reader.read()).done) if (!isStopped) changed();
    } finally {
      close(fd);
    }
  };
  const run = async (): Promise<void> => {
    while (!isStopped) {
      try {
        await listen();
      } catch (error) {
        // The kernel dropped messages because this process was too slow.
        if (codeOf(error) === "ENOBUFS") continue;
        if (!isStopped) lost(messageOf(error));
        return;
      }
    }
  };
  void run();
  return {
    stop() {
      isStopped = true;
      cancel();
    },
  };
}

/** Closes a file descriptor unless the stream that read from it has closed it. */
function close(fd: number): void {
  try {
    closeSync(fd);
  } catch {
    // closed already
  }
}

/** From linux/rtnetlink.h and sys/socket.h. */
const SOCK_NONBLOCK = 0o4000;
const RTMGRP_LINK = 0x1;
const RTMGRP_IPV4_IFADDR = 0x10;
const RTMGRP_IPV6_IFADDR = 0x100;

/** A socket that receives changes of addresses and interfaces. Throws Error. */
async function openSocket(): Promise<number> {
  const { FFIType, ptr } = await import("bun:ffi");
  const { symbols, close: closeLibrary } = await openLibc({
    socket: { args: [FFIType.int, FFIType.int, FFIType.int], returns: FFIType.int },
    bind: { args: [FFIType.int, FFIType.ptr, FFIType.u32], returns: FFIType.int },
  });
  try {
    const fd = symbols.socket(AF_NETLINK, SOCK_RAW | SOCK_NONBLOCK | SOCK_CLOEXEC, NETLINK_ROUTE);
    if (fd < 0) throw new Error("cannot open a netlink socket");
    // struct sockaddr_nl: family, padding, port, groups; in the byte order of x64 and arm64.
    const address = new DataView(new ArrayBuffer(12));
    address.setUint16(0, AF_NETLINK, true);
    address.setUint32(8, RTMGRP_LINK | RTMGRP_IPV4_IFADDR | RTMGRP_IPV6_IFADDR, true);
    if (symbols.bind(fd, ptr(address), address.byteLength) === 0) return fd;
    closeSync(fd);
    throw new Error("cannot receive changes of addresses over netlink");
  } finally {
    closeLibrary();
  }
}
