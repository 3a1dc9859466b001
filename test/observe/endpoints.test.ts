import { afterEach, expect, jest, test } from "bun:test";
import { once } from "node:events";
import { connect, createServer, type Socket } from "node:net";
import type { Watch } from "../../src/backends/backend.ts";
import type { AgentState } from "../../src/observe/agent-state.ts";
import { serve } from "../../src/observe/endpoints.ts";
import { createLog } from "../../src/observe/log.ts";
import { policy } from "../policies.ts";
import { agentState, synced } from "./agent-states.ts";

let stop: Watch[] = [];
afterEach(() => {
  for (const watch of stop) watch.stop();
  stop = [];
});

/** A server on a free port, and its log lines. */
async function start(state: AgentState, readCounters = async () => {}, port = 0) {
  const lines: string[] = [];
  const log = createLog("info", "text", line => lines.push(line.replace(/^\S+ /, "").trimEnd()));
  stop.push(
    serve({
      listen: { address: "127.0.0.1", port },
      state: state,
      log,
      readCounters,
      findConflicts: async () => {},
      metricsCidrLimit: 1000,
    }),
  );
  await until(() => lines.length > 0);
  const url = `http://${/listen=(\S+)/.exec(lines[0] ?? "")?.[1]}`;
  return { url, lines, get: (path: string, init?: RequestInit) => fetch(`${url}${path}`, init) };
}

async function until(condition: () => boolean): Promise<void> {
  while (!condition()) await Bun.sleep(2);
}

function inForce(): AgentState {
  const state = agentState();
  state.policy = policy();
  state.syncEnded(synced("applied", "start"));
  return state;
}

test("/readyz succeeds while the kernel has the policy's rules", async () => {
  const state = agentState();
  const { get } = await start(state);
  const ready = async () => {
    const response = await get("/readyz");
    return [response.status, await response.text()];
  };
  expect(await ready()).toEqual([503, "no valid config yet\n"]);
  state.policy = policy();
  expect(await ready()).toEqual([503, "the first sync has not finished yet\n"]);
  state.syncEnded(synced("applied", "start"));
  expect(await ready()).toEqual([200, "ok\n"]);
  state.syncEnded(synced("failed", "interval", "nft: permission denied"));
  expect(await ready()).toEqual([503, "nft: permission denied\n"]);
});

test("/healthz fails three resync intervals after the last sync", async () => {
  const state = inForce();
  const { get } = await start(state);
  expect((await get("/healthz")).status).toBe(200);
  state.interval = 5;
  await Bun.sleep(20);
  const response = await get("/healthz");
  expect(response.status).toBe(503);
  expect(await response.text()).toMatch(/^the last sync ended \d+ s ago\n$/);
  state.syncEnded(synced("failed", "interval", "no nft"));
  expect((await get("/healthz")).status).toBe(200);
});

test("metrics and page read the counters once for all simultaneous requests", async () => {
  let reads = 0;
  const { get } = await start(inForce(), async () => {
    reads++;
    await Bun.sleep(20);
  });
  const answers = await Promise.all(
    Array.from({ length: 20 }, (_, i) => get(i % 2 === 0 ? "/metrics" : "/")),
  );
  expect(new Set(answers.map(({ status }) => status))).toEqual(new Set([200]));
  expect(reads).toBe(1);
  expect(answers[0]?.headers.get("content-type")).toBe("text/plain; version=0.0.4; charset=utf-8");
  expect(answers[1]?.headers.get("content-type")).toBe("text/html; charset=utf-8");
});

test("/metrics responds although the counters cannot be read", async () => {
  const { get } = await start(inForce(), () => Promise.reject(new Error("nft is gone")));
  expect((await get("/metrics")).status).toBe(200);
});

test("unknown paths get 404, methods other than GET and HEAD 405", async () => {
  const { get } = await start(inForce());
  const missing = await get("/metric");
  expect([missing.status, await missing.text()]).toEqual([
    404,
    "not found; available: /healthz, /readyz, /metrics, /status, /, /connections\n",
  ]);
  expect((await get("/toString")).status).toBe(404);
  expect((await get("/%2e%2e/etc/passwd")).status).toBe(404);
  expect((await get("/healthz?verbose")).status).toBe(200);
  expect((await get("/readyz", { method: "HEAD" })).status).toBe(200);
  const posted = await get("/metrics", { method: "POST", body: "x" });
  expect([posted.status, posted.headers.get("allow")]).toEqual([405, "GET, HEAD"]);
});

test("an invalid Host header gets 400", async () => {
  const { url } = await start(inForce());
  const socket = connect(Number(new URL(url).port), "127.0.0.1");
  socket.write("GET /healthz HTTP/1.1\r\nHost: [\r\n\r\n");
  const [answer] = await once(socket, "data");
  socket.destroy();
  expect(`${answer}`.split("\r\n")[0]).toBe("HTTP/1.1 400 Bad Request");
});

test("a port in use is logged once per resync interval and served once it is free", async () => {
  const other = createServer();
  await new Promise<void>(resolve => other.listen(0, "127.0.0.1", resolve));
  const address = other.address();
  if (address === null || typeof address === "string") throw new Error("no address");
  const state = inForce();
  state.interval = 1000;
  const { url, lines, get } = await start(state, undefined, address.port);
  await until(() => lines.length === 2);
  const taken = `ERROR another process has the HTTP port and answers probes and scrapes; end it, or set --listen listen=127.0.0.1:${address.port}`;
  expect(lines.map(line => line.startsWith(taken))).toEqual([true, true]);
  other.close();
  state.interval = 60_000;
  await until(() => lines.length > 2);
  expect(lines[2]).toBe(`INFO  serving metrics and health listen=${url.slice("http://".length)}`);
  expect((await get("/healthz")).status).toBe(200);
}, 10_000);

test("a standby agent logs once that the port is in use, and an active one logs an error", async () => {
  jest.useFakeTimers();
  try {
    const { url } = await start(inForce());
    const state = inForce();
    state.isStandby = true;
    const { lines } = await start(state, undefined, Number(new URL(url).port));
    jest.advanceTimersByTime(120_000);
    const listen = `listen=${new URL(url).host}`;
    expect(lines).toEqual([
      `INFO  HTTP port is in use, probably by the active agent; retrying every 2s ${listen}`,
    ]);
    state.isStandby = false;
    jest.advanceTimersByTime(2000);
    expect(lines.at(-1)).toStartWith(
      `ERROR another process has the HTTP port and answers probes and scrapes; end it, or set --listen ${listen}`,
    );
  } finally {
    jest.useRealTimers();
  }
});

test("an internal error gets 500 and is logged once, with its cause", async () => {
  const state = inForce();
  const { get, lines } = await start(state);
  Object.defineProperty(state, "conflicts", {
    get: () => {
      throw new Error("out of\u001b[2J luck");
    },
  });
  const answers = await Promise.all(Array.from({ length: 5 }, () => get("/status")));
  expect(answers.map(({ status }) => status)).toEqual([500, 500, 500, 500, 500]);
  expect(await answers[0]?.text()).toBe("internal error; see the log\n");
  expect(lines).toHaveLength(2);
  expect(lines[1]).toStartWith(
    'ERROR internal error in an HTTP request; please report this path=/status error="out of\\u001b[2J luck, at ',
  );
  expect((await get("/healthz")).status).toBe(200);
  const metrics = await get("/metrics"); // without ipmasq_conflicts
  expect(metrics.status).toBe(200);
  expect(await metrics.text()).toContain("ipmasq_kernel_in_sync 1\n");
});

test("silent, slow and oversized requests are closed in time while others are served", async () => {
  const { url, get } = await start(inForce());
  const { port } = new URL(url);
  const open = () => connect(Number(port), "127.0.0.1");
  const silent = open();
  const slow = open();
  slow.write("GET / HTTP/1.1\r\nHost: x\r\n");
  const trickle = setInterval(() => slow.write("a: b\r\n"), 500);
  const began = performance.now();
  const long = open();
  long.write(`GET / HTTP/1.1\r\nHost: x\r\n${"a: b\r\n".repeat(10_000)}`);
  const garbage = open();
  garbage.write("\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n");
  try {
    await Promise.all([closed(long), closed(garbage)]);
    expect((await get("/healthz")).status).toBe(200);
    await Promise.all([closed(silent), closed(slow)]);
    expect(performance.now() - began).toBeWithin(4500, 7000);
  } finally {
    clearInterval(trickle);
  }
}, 20_000);

function closed(socket: Socket): Promise<void> {
  socket.on("error", () => {}); // a reset is a close too
  socket.resume();
  return new Promise(resolve => socket.on("close", () => resolve()));
}
