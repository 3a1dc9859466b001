import type { Watch } from "../backends/backend.ts";
import { formatListen, type Listen } from "../net/listen.ts";
import { agentStatus } from "./agent-status.ts";
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
  /** Looks for competing rules anew. */
  readonly look: () => Promise<void>;
}

/**
 * Serves health, metrics and the status page over HTTP, until it is stopped. An address that cannot be had is
 * a warning, and tried again.
 *
 * By Bun's own server: Node's takes 16 MB more of an idle agent. It has no limit for connections, so it goes down for
 * a moment when they took so many file descriptors that a sync failed.
 */
export function serve({ listen: { address, port }, journal, log, refresh, look }: ServerOptions): Watch {
  const metrics = new Metrics(journal);
  const fresh = seldom(() =>
    refresh().catch(error => log.debug("counters cannot be read", { error: `${error}` })),
  );
  const looked = seldom(look);
  const routes: Routes = {
    "/healthz": () => health(journal),
    "/readyz": () => readiness(journal),
    "/metrics": async () => {
      await fresh();
      return new Response(await metrics.print(), { headers: { "content-type": metrics.contentType } });
    },
    "/status": async () => {
      await Promise.all([fresh(), looked()]);
      return Response.json(await agentStatus(journal));
    },
    "/": async () => {
      await Promise.all([fresh(), looked()]);
      return new Response(statusPage(journal), { headers: PAGE_HEADERS });
    },
  };
  const options = {
    hostname: address || "::",
    port,
    idleTimeout: IDLE_SECONDS,
    maxRequestBodySize: MOST_BYTES,
    development: false,
    // Else Bun shares the port with whoever else asks for it so, as another agent does.
    reusePort: false,
    fetch: (request: Request) => answer(routes, request),
    error: () => plain(500, "something went wrong; the log may say what"),
  };
  let server: Bun.Server<undefined> | undefined;
  let timer: Timer | undefined;
  const start = (wait: number) => {
    try {
      server = Bun.serve(options);
      log.info("serving metrics and health", { listen: `${server.hostname}:${server.port}` });
    } catch (error) {
      const facts = { listen: formatListen({ address, port }), error: messageOf(error) };
      if (wait === FIRST_RETRY_MS) log.warn("metrics and health are not served; trying again", facts);
      timer = setTimeout(start, wait, Math.min(2 * wait, LAST_RETRY_MS));
    }
  };
  journal.follow(({ failure }) => {
    if (!server || failure !== "exhausted") return;
    log.warn("too many connections; metrics and health are not served for a moment");
    void server.stop(true);
    server = undefined;
    timer = setTimeout(start, FIRST_RETRY_MS, FIRST_RETRY_MS);
  });
  start(FIRST_RETRY_MS);
  return {
    stop() {
      clearTimeout(timer);
      void server?.stop(true);
    },
  };
}

type Routes = Readonly<Record<string, () => Response | Promise<Response>>>;

/** A connection on which nothing happens for so long is closed, and so is one whose request takes longer to come. */
const IDLE_SECONDS = 10;
/** No request of ours has a body. */
const MOST_BYTES = 1024;
/** Longer than a sync waits before it is tried again. */
const FIRST_RETRY_MS = 2000;
/** Soon enough for who takes over from an agent that had the port. */
const LAST_RETRY_MS = 4000;
async function answer(routes: Routes, request: Request): Promise<Response> {
  const pathname = URL.parse(request.url)?.pathname; // of which the header Host is a part
  if (pathname === undefined) return plain(400, "the header Host is not right");
  const route = Object.hasOwn(routes, pathname) ? routes[pathname] : undefined;
  if (!route) return plain(404, `nothing here; there are ${Object.keys(routes).join(", ")}`);
  if (request.method !== "GET" && request.method !== "HEAD") {
    return plain(405, "only GET and HEAD are answered", { allow: "GET, HEAD" });
  }
  return route();
}

function health({ stalled }: Journal): Response {
  return stalled === undefined ? plain(200, "ok") : plain(503, stalled);
}

function readiness({ unready }: Journal): Response {
  return unready === undefined ? plain(200, "ok") : plain(503, unready);
}

function plain(status: number, text: string, headers: Record<string, string> = {}): Response {
  return new Response(`${text}\n`, {
    status,
    headers: { "content-type": "text/plain; charset=utf-8", ...headers },
  });
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : `${error}`;
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
