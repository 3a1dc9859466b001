import type { Watch } from "../backends/backend.ts";
import { formatListen, type Listen } from "../net/listen.ts";
import { codeOf, messageOf } from "../system/errors.ts";
import { printable } from "../system/printable.ts";
import { within } from "../system/timing.ts";
import type { AgentState } from "./agent-state.ts";
import { Exposition } from "./exposition.ts";
import type { HttpRequest } from "./http-request.ts";
import { type Answer, HttpServer, plain } from "./http-server.ts";
import type { Log } from "./log.ts";
import { PAGE_HEADERS, statusPage } from "./page.ts";
import { type Body, SharedBody } from "./shared-body.ts";
import { statusReportJson } from "./status-report.ts";

export interface ServerOptions {
  readonly listen: Listen;
  readonly state: AgentState;
  readonly log: Log;
  /** Reads the kernel's counters anew. */
  readonly refresh: () => Promise<void>;
  /** Looks for competing rules anew. */
  readonly look: () => Promise<void>;
  /** How many CIDRs have series of their own in the metrics. */
  readonly metricsCidrLimit: number;
}

/**
 * Serves health, metrics and the status page over HTTP, until it is stopped. If the address is not available, it logs
 * an error in each resync interval and tries again every two seconds.
 */
export function serve(options: ServerOptions): Watch {
  const { listen, state, log } = options;
  const routes = routesOf(options, body => server?.drop(body));
  const failed = failures(log, state);
  let server: HttpServer | undefined;
  let timer: Timer | undefined;
  let said = Number.NEGATIVE_INFINITY;
  const start = () => {
    try {
      server = new HttpServer(
        listen,
        request => answer(routes, request, failed),
        error => failed("any", error),
      );
      log.info("serving metrics and health", { listen: server.address });
    } catch (error) {
      timer = setTimeout(start, RETRY_MS);
      if (performance.now() - said < state.interval) return;
      said = performance.now();
      const taken = codeOf(error) === "EADDRINUSE";
      const facts = { listen: formatListen(listen), error: messageOf(error) };
      if (taken) log.error("another process has the HTTP port and answers probes and scrapes", facts);
      else log.error("metrics and health are not served", facts);
    }
  };
  start();
  return {
    stop() {
      clearTimeout(timer);
      server?.stop();
    },
  };
}

/** Short enough for an agent that takes over from one that had the port. */
const RETRY_MS = 2000;

type Failed = (path: string, error: unknown) => void;

/** Logs each failure of a path with its cause, once in a resync interval. */
function failures(log: Log, state: AgentState): Failed {
  const said = new Map<string, number>();
  return (path, error) => {
    const now = performance.now();
    if (now - (said.get(path) ?? Number.NEGATIVE_INFINITY) < state.interval) return;
    said.set(path, now);
    log.error("an HTTP request failed inside ipmasq; please report this", { path, error: causeOf(error) });
  };
}

type Routes = Readonly<Record<string, () => Answer | Promise<Answer>>>;

/** @param outdated receives a long body that no longer needs to be kept */
function routesOf(
  { state, log, refresh, look, metricsCidrLimit }: ServerOptions,
  outdated: (body: Body) => void,
): Routes {
  const metrics = new Exposition(state, log, metricsCidrLimit);
  const fresh = seldom(() =>
    refresh().catch(error => log.debug("counters cannot be read", { error: messageOf(error) })),
  );
  const looked = seldom(() =>
    look().catch(error => log.debug("foreign rules cannot be read", { error: messageOf(error) })),
  );
  const shared = (
    headers: Readonly<Record<string, string>>,
    render: () => Iterable<string> | Promise<Iterable<string>>,
  ) => {
    const body = new SharedBody(render, outdated);
    return async (): Promise<Answer> => ({ status: 200, headers, body: await body.get() });
  };
  return {
    "/healthz": () => health(state),
    "/readyz": () => readiness(state),
    "/metrics": shared({ "content-type": Exposition.contentType }, async () => {
      await fresh();
      return metrics.text();
    }),
    "/status": shared({ "content-type": "application/json" }, async () => {
      await Promise.all([fresh(), looked()]);
      return statusReportJson(state);
    }),
    "/": shared(PAGE_HEADERS, async () => {
      await Promise.all([fresh(), looked()]);
      return [statusPage(state)];
    }),
  };
}

async function answer(routes: Routes, { method, path }: HttpRequest, failed: Failed): Promise<Answer> {
  const route = Object.hasOwn(routes, path) ? routes[path] : undefined;
  if (!route) return plain(404, `nothing here; there are ${Object.keys(routes).join(", ")}`);
  if (method !== "GET" && method !== "HEAD")
    return plain(405, "only GET and HEAD are answered", { allow: "GET, HEAD" });
  try {
    return await route();
  } catch (error) {
    failed(path, error);
    return plain(500, "internal error; see the log");
  }
}

/** The message, and the line of code. */
function causeOf(error: unknown): string {
  const at = error instanceof Error ? error.stack?.split("\n").find(line => /^\s+at /.test(line)) : undefined;
  return at === undefined ? messageOf(error) : `${messageOf(error)}, ${at.trim()}`;
}

function health({ stalled }: AgentState): Answer {
  return stalled === undefined ? plain(200, "ok") : plain(503, printable(stalled));
}

function readiness({ unready }: AgentState): Answer {
  return unready === undefined ? plain(200, "ok") : plain(503, printable(unready));
}

/**
 * Limits `work` to once a second and a tenth of the time, for many callers. A call waits at most a second for work that
 * is under way.
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
    if (!running) return;
    await within(SECOND, running);
  };
}

const SECOND = 1000;
