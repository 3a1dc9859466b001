/** Kills a program that runs in its own process group, and its child processes. */
function killGroup(pid: number): void {
  try {
    process.kill(-pid, "SIGKILL");
  } catch {
    // The group has ended.
  }
}

const running = new Set<number>();

process.on("exit", () => {
  for (const pid of running) killGroup(pid);
});

/**
 * Kills the process group of a program when this process exits, so that a program that hangs writes no rules later.
 * Returns a function that kills it earlier.
 *
 * @param program runs in its own process group
 */
export function killAtExit({ pid, exited }: Pick<Bun.Subprocess, "pid" | "exited">): () => void {
  running.add(pid);
  void exited.then(() => running.delete(pid));
  return () => killGroup(pid);
}
