import { test } from "bun:test";
import { type Chroot, debianChroot, type ProgramName } from "./debian/chroot.ts";

/** Where a program cannot be had, a test that needs it is skipped; but there it fails. */
const ALL_MUST_BE_HAD = process.env.CI === "true";

/** A test with a program of Debian's, or one in its place that says why the program cannot be had. */
export async function programTest(
  name: ProgramName,
  what: string,
  body: (program: Chroot) => Promise<void>,
  timeout?: number,
): Promise<void> {
  const program = await debianChroot(name);
  if ("missing" in program) absent(program.missing);
  else test(what, () => body(program), timeout);
}

/** A test that is skipped, or fails if everything must be had, for want of something. */
export function absent(why: string): void {
  test.skipIf(!ALL_MUST_BE_HAD)(why, () => {
    throw new Error(why);
  });
}
