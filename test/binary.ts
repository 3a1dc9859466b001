import { join } from "node:path";

/** What `npm test` builds before it runs any test. */
export const BINARY = join(import.meta.dir, "../dist/ipmasq");

/** Runs the binary to its end, in an environment that holds nothing but PATH and what is given. */
export async function ipmasq(argv: readonly string[], environment: Record<string, string> = {}) {
  const child = Bun.spawn([BINARY, ...argv], {
    stdin: "ignore",
    stdout: "pipe",
    stderr: "pipe",
    env: { PATH: process.env.PATH, ...environment },
  });
  const [stdout, stderr, exitCode] = await Promise.all([
    child.stdout.text(),
    child.stderr.text(),
    child.exited,
  ]);
  return { stdout, stderr, exitCode };
}
