/** `npm start`: runs the demo in its own namespaces. With `--keep`, the status page has a port of this machine. */
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { forward } from "./forward.ts";

const OPTIONS = ["--keep", "--tour"];

const options = process.argv.slice(2);
const unknown = options.find(it => !OPTIONS.includes(it));
if (unknown !== undefined) {
  process.stderr.write(`unknown argument "${unknown}"; write ${OPTIONS.join(" or ")}\n`);
  process.exit(64);
}
process.exitCode = options.includes("--keep") ? await withPage() : await demo({});

/** A Unix socket leads into the namespaces, whose network has no way out. */
async function withPage(): Promise<number> {
  const folder = await mkdtemp(join(tmpdir(), "ipmasq-demo-"));
  const path = join(folder, "page");
  const host = "127.0.0.1";
  // Any free port, if another agent has the usual one.
  const server = await forward({ host, port: 9469 }, { path }).catch(() =>
    forward({ host, port: 0 }, { path }),
  );
  try {
    const address = server.address();
    const port = typeof address === "object" ? address?.port : undefined;
    return await demo({ DEMO_SOCKET: path, DEMO_URL: `http://${host}:${port}/` });
  } finally {
    server.close();
    await rm(folder, { recursive: true });
  }
}

/** Runs the demo and returns its exit code. */
async function demo(environment: Record<string, string>): Promise<number> {
  const argv = [
    join(import.meta.dir, "../../lab/isolate"),
    process.execPath,
    join(import.meta.dir, "demo.ts"),
  ];
  const child = Bun.spawn([...argv, ...options], {
    stdio: ["inherit", "inherit", "inherit"],
    env: { ...process.env, ...environment },
  });
  // A terminal sends SIGINT to the demo too.
  process.on("SIGINT", () => {});
  process.on("SIGTERM", () => child.kill("SIGTERM"));
  return child.exited;
}
