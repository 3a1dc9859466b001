import { test } from "bun:test";
import { type Chroot, debianChroot, type ProgramName } from "./debian/chroot.ts";

/** If set, tests whose programs are missing fail instead of being skipped. */
const MISSING_FAILS = process.env.CI === "true";

/** A test with a Debian program. If the program is missing, it reports the reason. */
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

/** Skips a test, or fails with CI=true, because something is missing. */
export function absent(why: string): void {
  test.skipIf(!MISSING_FAILS)(why, () => {
    throw new Error(why);
  });
}
