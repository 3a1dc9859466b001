import { openLibc } from "./libc.ts";

/** Two file descriptors. The caller closes both. */
interface Pipe {
  readonly read: number;
  readonly write: number;
}

/** From fcntl.h. */
const O_CLOEXEC = 0o2000000;

/**
 * A pipe(7), which holds 64 kB; undefined without bun:ffi, which needs the JIT.
 *
 * Bun connects programs by sockets. A socket holds 40 short writes, and each write wakes the reader.
 */
export async function openPipe(): Promise<Pipe | undefined> {
  try {
    const { FFIType, ptr } = await import("bun:ffi");
    const { symbols, close } = await openLibc({
      pipe2: { args: [FFIType.ptr, FFIType.int], returns: FFIType.int },
    });
    try {
      const ends = new Int32Array(2);
      if (symbols.pipe2(ptr(ends), O_CLOEXEC) !== 0) return undefined;
      const [read = -1, write = -1] = ends;
      return { read, write };
    } finally {
      close();
    }
  } catch {
    return undefined;
  }
}
