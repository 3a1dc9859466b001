import type { Watch } from "../backends/backend.ts";
import { formatListen, type Listen } from "../net/listen.ts";
import { codeOf, messageOf } from "../system/errors.ts";
import { LastSaid } from "../system/last-said.ts";
import { printable } from "../system/printable.ts";
import { within } from "../system/timing.ts";
import type { AgentState } from "./agent-state.ts";
import { Exposition } from "./exposition.ts";
import type { HttpRequest } from "./http-request.ts";
import { type HttpResponse, textResponse } from "./http-response.ts";
import { HttpServer } from "./http-server.ts";
import type { Log } from "./log.ts";
import { type Body, SharedBody } from "./shared-body.ts";
import { statusReportJson } from "./status-report.ts";

export interface EndpointOptions {
  readonly listen: Listen;
  readonly state: AgentState;
  readonly log: Log;
  /** Reads the kernel's counters into the state. */
  readonly readCounters: () => Promise<void>;
  /** Looks for conflicts and puts them into the state. */
  readonly findConflicts: () => Promise<void>;
  /** The maximum number of CIDRs with their own series in the metrics. */
  readonly metricsCidrLimit: number;
}

/**
 * Serves health, metrics and status over HTTP until it is stopped. While the address is not available, it tries again
 * every two seconds and logs an error once per resync interval. A standby agent logs the error once, because the
 * active agent usually has the port.
 */
export function serve(options: EndpointOptions): Watch {
  const { listen, state, log } = options;
  const endpoints = endpointsOf(options, body => server?.drop(body));
  const errors = new IntervalLog(log, state);
  const failed = (path: string, error: unknown) =>
    errors.error(path, "internal error in an HTTP request; please report this", {
      path,
      error: causeOf(error),
    });
  let server: HttpServer | undefined;
  let timer: Timer | undefined;
  const portInUse = new LastSaid();
  const start = () => {
    try {
      server = new HttpServer(
        listen,
        request => respond(endpoints, request, failed),
        error => failed("any", error),
      );
      log.info("serving metrics and health", { listen: server.address });
    } catch (error) {
      timer = setTimeout(start, RETRY_MS);
      const facts = { listen: formatListen(listen) };
      const inUse = codeOf(error) === "EADDRINUSE";
      if (inUse && state.isStandby) {
        if (portInUse.isNews(STANDBY_PORT)) log.info(STANDBY_PORT, { listen: facts.listen });
      } else if (inUse) errors.error("listen", PORT_TAKEN, facts);
      else
        errors.error("listen", "cannot serve metrics and health; retrying", {
          ...facts,
          error: messageOf(error),
        });
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

/** The pause is short, so that a new active agent soon gets the port of the previous agent. */
const RETRY_MS = 2000;
const PORT_TAKEN =
  "another process has the HTTP port and answers probes and scrapes; end it, or set --listen";
const STANDBY_PORT = "HTTP port is in use, probably by the active agent; retrying every 2s";

/** Logs lasting errors once per resync interval. */
class IntervalLog {
  /** When each error was last logged, by a monotonic clock. */
  readonly #logged = new Map<string, number>();

  constructor(
    readonly log: Log,
    readonly state: AgentState,
  ) {}

  error(key: string, ...line: Parameters<Log["error"]>): void {
    const now = performance.now();
    if (now - (this.#logged.get(key) ?? Number.NEGATIVE_INFINITY) < this.state.interval) return;
    this.#logged.set(key, now);
    this.log.error(...line);
  }
}

/** The handlers of the paths. */
type Endpoints = Readonly<Record<string, () => HttpResponse | Promise<HttpResponse>>>;

/** @param outdated receives a long body that no longer needs to be kept */
function endpointsOf(
  { state, log, readCounters, findConflicts, metricsCidrLimit }: EndpointOptions,
  outdated: (body: Body) => void,
): Endpoints {
  const exposition = new Exposition(state, log, metricsCidrLimit);
  const counted = throttled(() =>
    readCounters().catch(error => log.debug("counters not read", { error: messageOf(error) })),
  );
  const judged = throttled(() =>
    findConflicts().catch(error => log.debug("foreign rules not read", { error: messageOf(error) })),
  );
  const shared = (
    headers: Readonly<Record<string, string>>,
    render: () => Iterable<string> | Promise<Iterable<string>>,
  ) => {
    const body = new SharedBody(render, outdated);
    return async (): Promise<HttpResponse> => ({ status: 200, headers, body: await body.get() });
  };
  // Most agents are never asked for a page, so its modules are loaded on request.
  const page = (render: () => Promise<Iterable<string>>) => {
    const body = new SharedBody(render, outdated);
    return async (): Promise<HttpResponse> => {
      const { PAGE_HEADERS } = await import("./document.ts");
      return { status: 200, headers: PAGE_HEADERS, body: await body.get() };
    };
  };
  return {
    "/healthz": () => health(state.stalled),
    "/readyz": () => health(state.unready),
    "/metrics": shared({ "content-type": Exposition.contentType }, async () => {
      await counted();
      return exposition.text();
    }),
    "/status": shared({ "content-type": "application/json" }, async () => {
      await Promise.all([counted(), judged()]);
      return statusReportJson(state);
    }),
    "/": page(async () => {
      await Promise.all([counted(), judged()]);
      const { statusPage } = await import("./page.ts");
      return [await statusPage(state)];
    }),
    "/connections": page(async () => {
      const { connectionsPage } = await import("./connections-page.ts");
      return [await connectionsPage(state)];
    }),
  };
}

async function respond(
  endpoints: Endpoints,
  { method, path }: HttpRequest,
  failed: (path: string, error: unknown) => void,
): Promise<HttpResponse> {
  const endpoint = Object.hasOwn(endpoints, path) ? endpoints[path] : undefined;
  if (!endpoint) return textResponse(404, `not found; available: ${Object.keys(endpoints).join(", ")}`);
  if (method !== "GET" && method !== "HEAD")
    return textResponse(405, "method not allowed; use GET or HEAD", { allow: "GET, HEAD" });
  try {
    return await endpoint();
  } catch (error) {
    failed(path, error);
    return textResponse(500, "internal error; see the log");
  }
}

/** The message, and the line of code. */
function causeOf(error: unknown): string {
  const at = error instanceof Error ? error.stack?.split("\n").find(line => /^\s+at /.test(line)) : undefined;
  return at === undefined ? messageOf(error) : `${messageOf(error)}, ${at.trim()}`;
}

function health(problem: string | undefined): HttpResponse {
  return problem === undefined ? textResponse(200, "ok") : textResponse(503, printable(problem));
}

/**
 * Runs work that many callers request, at most once a second and for at most a tenth of the time. A call waits for
 * work in progress, but at most a second.
 */
function throttled(work: () => Promise<void>): () => Promise<void> {
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
    if (running) await within(SECOND, running);
  };
}

const SECOND = 1000;
