import { createServer, type Server } from "node:http";
import type { Watch } from "../backends/backend.ts";
import { formatListen, type Listen } from "../net/listen.ts";
import type { Journal } from "./journal.ts";
import type { Log } from "./log.ts";
import { Metrics } from "./metrics.ts";
import { PAGE_HEADERS, statusPage } from "./page.ts";

export interface ServerOptions {
  readonly listen: Listen;
  readonly journal: Journal;
  readonly log: Log;
  /** Reads the kernel's counters anew. */
  readonly refresh: () => Promise<void>;
}

/**
 * Serves health, metrics and the status page over HTTP, until it is stopped. An address that cannot be had is
 * a warning, and tried again.
 */
export function serve({ listen: { address, port }, journal, log, refresh }: ServerOptions): Watch {
  const metrics = new Metrics(journal);
  const fresh = seldom(() =>
    refresh().catch(error => log.debug("counters cannot be read", { error: `${error}` })),
  );
  const routes: Routes = {
    "/healthz": () => health(journal),
    "/readyz": () => readiness(journal),
    "/metrics": async () => {
      await fresh();
      return { status: 200, headers: { "content-type": metrics.contentType }, body: await metrics.print() };
    },
    "/": async () => {
      await fresh();
      return { status: 200, headers: PAGE_HEADERS, body: statusPage(journal) };
    },
  };
  const server = createServer(LIMITS, (request, response) => {
    answer(routes, request.method, request.url)
      .catch(() => plain(500, "something went wrong; the log may say what"))
      .then(({ status, headers, body }) => response.writeHead(status, headers).end(body));
  });
  server.maxConnections = MOST_CONNECTIONS;
  let timer: Timer | undefined;
  let wait = FIRST_RETRY_MS;
  const start = () => server.listen(port, address || undefined);
  server.on("listening", () => log.info("serving metrics and health", { listen: boundTo(server) }));
  server.on("error", error => {
    const facts = { listen: formatListen({ address, port }), error: error.message };
    if (wait === FIRST_RETRY_MS) log.warn("metrics and health are not served; trying again", facts);
    timer = setTimeout(start, wait);
    wait = Math.min(2 * wait, LAST_RETRY_MS);
  });
  start();
  return {
    stop() {
      clearTimeout(timer);
      server.close();
      server.closeAllConnections();
    },
  };
}

/** The port may be one that the kernel chose. */
function boundTo(server: Server): string {
  const bound = server.address();
  return bound && typeof bound === "object" ? formatListen(bound) : "";
}

interface Answer {
  readonly status: number;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: string;
}

type Routes = Readonly<Record<string, () => Answer | Promise<Answer>>>;

/** Who says nothing, or says it slowly, is not listened to for longer. Milliseconds, and bytes. */
const LIMITS = {
  headersTimeout: 5000,
  requestTimeout: 5000,
  connectionsCheckingInterval: 1000,
  maxHeaderSize: 8192,
};
/** More are closed at once: the agent needs its file descriptors for other things. */
const MOST_CONNECTIONS = 64;
const FIRST_RETRY_MS = 2000;
const LAST_RETRY_MS = 60_000;

async function answer(routes: Routes, method = "", url = ""): Promise<Answer> {
  const [path = ""] = url.split("?");
  const route = Object.hasOwn(routes, path) ? routes[path] : undefined;
  if (!route) return plain(404, `nothing here; there are ${Object.keys(routes).join(", ")}`);
  if (method !== "GET" && method !== "HEAD") {
    return plain(405, "only GET and HEAD are answered", { allow: "GET, HEAD" });
  }
  return route();
}

/** The loop lives as long as a sync ended within three intervals. */
function health({ idle, interval }: Journal): Answer {
  if (idle <= 3 * interval) return plain(200, "ok");
  return plain(503, `the last sync ended ${Math.round(idle / 1000)} s ago`);
}

function readiness({ unready }: Journal): Answer {
  return unready === undefined ? plain(200, "ok") : plain(503, unready);
}

function plain(status: number, text: string, headers: Record<string, string> = {}): Answer {
  return { status, headers: { "content-type": "text/plain; charset=utf-8", ...headers }, body: `${text}\n` };
}

/**
 * `work` for many who ask at once: it runs at most once a second, and takes no more than a tenth of the time. Who
 * asks meanwhile gets what there is.
 */
function seldom(work: () => Promise<void>): () => Promise<void> {
  let running: Promise<void> | undefined;
  let next = 0;
  return async () => {
    if (!running && performance.now() >= next) {
      const began = performance.now();
      running = work().finally(() => {
        running = undefined;
        next = performance.now() + Math.max(SECOND, 9 * (performance.now() - began));
      });
    }
    await running;
  };
}

const SECOND = 1000;
