import { connect } from "node:net";
import { Lines } from "../lab/lines.ts";
import type { Namespace } from "../lab/namespace.ts";

const HOST = "HTTP/1.1\r\nHost: a\r\n";

/** The texts that a client sends after it has connected, and then every second. */
const SENT = {
  "send nothing": ["", ""],
  "send a header every second": [`GET / ${HOST}`, "a: b\r\n"],
  "request /metrics": [`GET /metrics ${HOST}\r\n`, ""],
  "request /status": [`GET /status ${HOST}\r\n`, ""],
  "request /": [`GET / ${HOST}\r\n`, ""],
  "request /status with HEAD": [`HEAD /status ${HOST}\r\n`, ""],
  "send 1000 requests at once": [`GET /metrics ${HOST}\r\n`.repeat(1000), ""],
  "send headers of 1 MB": [`GET / ${HOST}${`a: ${"b".repeat(1000)}\r\n`.repeat(1000)}\r\n`, ""],
} as const satisfies Readonly<Record<string, readonly [string, string]>>;

export type Kind = keyof typeof SENT;

export const KINDS = Object.keys(SENT).filter(isKind);

/**
 * Clients on loopback in a separate process. They read nothing, and reconnect 200 ms after they are disconnected.
 */
export class HttpClients {
  private constructor(readonly program: Bun.Subprocess<"pipe", "pipe", "inherit">) {}

  /**
   * Starts clients, and waits until each has connected once or tried for five seconds.
   *
   * @param place their namespace; by default the caller's
   */
  static async start(port: number, count: number, kind: Kind, place?: Namespace): Promise<HttpClients> {
    const argv = [process.execPath, import.meta.path, `${port}`, `${count}`, kind];
    const program = Bun.spawn(place?.command(argv) ?? argv, {
      stdin: "pipe",
      stdout: "pipe",
      stderr: "inherit",
    });
    await new Lines(program.stdout).until("connected");
    return new HttpClients(program);
  }

  async stop(): Promise<void> {
    this.program.stdin.end();
    await this.program.exited;
  }
}

const TIMEOUT_MS = 5000;
const BACK_MS = 200;

function work(port: number, count: number, [first, later]: readonly [string, string]): void {
  let connected = 0;
  const ready = () => process.stdout.write("connected\n");
  const timer = setTimeout(ready, TIMEOUT_MS);
  const open = () => {
    const socket = connect({ host: "127.0.0.1", port });
    let beat: Timer | undefined;
    socket.on("error", () => {}); // a reset counts as a close
    socket.on("connect", () => {
      socket.pause();
      socket.write(first);
      if (later !== "") beat = setInterval(() => socket.write(later), 1000);
      if (++connected !== count) return;
      clearTimeout(timer);
      ready();
    });
    socket.on("close", () => {
      clearInterval(beat);
      setTimeout(open, BACK_MS);
    });
  };
  for (let i = 0; i < count; i++) open();
  process.stdin.on("end", () => process.exit(0)).resume();
}

function isKind(text: string): text is Kind {
  return Object.hasOwn(SENT, text);
}

if (import.meta.main) {
  const [port, count, kind = ""] = process.argv.slice(2);
  if (!isKind(kind)) throw new Error(`unknown kind of client: ${kind}`);
  work(Number(port), Number(count), SENT[kind]);
}
