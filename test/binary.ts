import { BINARY } from "../lab/agent.ts";

/** Runs the built binary in an environment with only PATH and the given variables. */
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
