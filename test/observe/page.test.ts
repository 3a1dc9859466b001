import { expect, test } from "bun:test";
import axe from "axe-core";
import type { Conflict } from "../../src/conflicts/conflict.ts";
import type { AgentState } from "../../src/observe/agent-state.ts";
import { serve } from "../../src/observe/endpoints.ts";
import { graph } from "../../src/observe/graph.ts";
import { History } from "../../src/observe/history.ts";
import { createLog } from "../../src/observe/log.ts";
import { statusPage } from "../../src/observe/page.ts";
import type { Chroot } from "../debian/chroot.ts";
import { policy } from "../policies.ts";
import { programTest } from "../programs.ts";
import { agentState, counter, synced } from "./agent-states.ts";
import { openPage, type Screen } from "./browser.ts";

const FLANNEL: Conflict = {
  owner: "flannel",
  tool: "iptables-nft",
  family: "ip",
  table: "nat",
  chain: "FLANNEL-POSTRTG",
  rule: "-A FLANNEL-POSTRTG -s 10.244.0.0/16 ! -d 224.0.0.0/4 -j MASQUERADE --random-fully",
  priority: 100,
  runs: "before ipmasq",
  exposes: ["10.0.0.0/16"],
  certain: true,
  harmless: false,
  remedy: "start flanneld without --ip-masq",
};

/** A state with something in every part of the page, and 100 CIDRs. */
function full(): AgentState {
  const state = agentState();
  const keep = Array.from({ length: 100 }, (_, i) => `10.${i}.0.0/16`);
  state.policy = policy(
    {
      keep: [...keep, "10.0.1.0/24", "2001:db8::/32"],
      masquerade: ["10.1.96.0/20"],
      interfaces: ["eth0"],
    },
    { enableIPv6: true },
  );
  state.config = {
    path: "/config",
    ok: false,
    digest: "ab12".repeat(16),
    problems: [
      {
        severity: "error",
        at: { file: "/config", line: 3, column: 5 },
        what: '"<script>document.title = 1</script>" is not an IP address',
        remedy: "write one",
      },
    ],
  };
  state.conflicts = [FLANNEL];
  state.history.record(performance.now() - 60_000, 0, 0);
  state.totals.read({
    writer: "nft",
    counters: [counter("keep", "10.0.0.0/16", 12_345, 1_234_567), counter("masquerade", "rest", 7, 420)],
  });
  state.syncEnded(synced("applied", "start"));
  state.syncEnded(
    synced("repaired", "kernel", 'added=21 firstAdded="chain postrouting {" by=nft (pid 1234)'),
  );
  return state;
}

function inForce(): AgentState {
  const state = agentState();
  state.policy = policy();
  state.syncEnded(synced("applied", "start"));
  return state;
}

test.each([
  ["no config yet", () => agentState(), "bad", "NO, since 2026-01-02 03:04:05 UTC: no valid config yet"],
  ["a rejected config", full, "warn", "the config is rejected; the last good policy stays active"],
  ["contested rules", () => Object.assign(inForce(), { contested: true }), "warn", "but contested: another"],
  [
    "a conflict",
    () => Object.assign(inForce(), { conflicts: [FLANNEL] }),
    "warn",
    "by flannel for 10.0.0.0/16",
  ],
  ["no problem", inForce, "good", "yes, since 2026-01-02 03:04:06 UTC"],
])("the headline shows: %s", async (_name, state, level, text) => {
  const page = await statusPage(state());
  const headline = page.slice(page.indexOf('<div id="headline"'), page.indexOf('<p id="notice"'));
  expect(headline).toContain(`class="state ${level}"`);
  expect(headline).toContain(text);
});

test("a long list shows its first 50 rows, and redundant CIDRs are folded", async () => {
  const state = agentState();
  const keep = Array.from({ length: 2000 }, (_, i) => `10.${i >> 8}.${i & 255}.0/24`);
  state.policy = policy({ keep: [...keep, "10.0.0.0/25"] });
  const page = await statusPage(state);
  expect(page.match(/<tr><td><code>/g)).toHaveLength(50);
  expect(page).toContain("<output>50 of 2,001 shown</output>"); // link-local is in the list too
  expect(page).toContain("<summary>1 redundant</summary>");
});

test("the history keeps one sample a minute for an hour", () => {
  const history = new History();
  for (let second = 0; second <= 2 * 3600; second += 5) history.record(1000 * second, 10 * second, second);
  const { rates } = history;
  expect(rates.length).toBeWithin(58, 62);
  expect(rates[0]?.from).toBeWithin(3_500_000, 3_600_001);
  expect(rates.at(-1)?.to).toBe(0);
  for (const { keep, masquerade } of rates) expect([keep, masquerade]).toEqual([10, 1]);
  expect(history.current).toMatchObject({ keep: 10, masquerade: 1, to: 0 });
  expect(graph(rates).text).toContain('aria-label="Connections per second in the last hour; at most 10."');
});

test("there are no rates before the second sample", () => {
  const history = new History();
  expect([history.rates, history.current]).toEqual([[], undefined]);
  history.record(1000, 5, 5);
  expect([history.rates, history.current]).toEqual([[], undefined]);
});

await programTest(
  "chromium",
  "Chromium shows the page in light and dark mode and on a phone, and axe finds nothing",
  async chromium => {
    const log: string[] = [];
    const listen = { address: "127.0.0.1", port: 0 };
    const state = full();
    const server = serve({
      listen,
      state,
      log: createLog("info", "text", line => log.push(line)),
      readCounters: async () => {},
      findConflicts: async () => {},
      metricsCidrLimit: 1000,
    });
    while (log.length === 0) await Bun.sleep(1);
    const url = `http://${/listen=(\S+)/.exec(log[0] ?? "")?.[1]}/`;
    try {
      const light = await look(chromium, url, { width: 1000, height: 800, scheme: "light" });
      expect(light).toMatchObject({ title: `${state.node}: ipmasq`, sideways: false, fetched: 0, found: [] });
      expect(light.rows).toContainEqual(["10.0.0.0/16", "keep", "12,345", "1,234,567", "/config:2"]);
      expect(light.text).toContain("<script>document.title = 1</script>");
      expect(light.text).toContain("50 of 102 shown");
      const dark = await look(chromium, url, { width: 1000, height: 800, scheme: "dark" });
      expect([light.ink, dark.ink]).toEqual(["rgb(31, 35, 40)", "rgb(230, 237, 243)"]);
      expect(dark.found).toEqual([]);
      const phone = await look(chromium, url, { width: 360, height: 700, scheme: "light" });
      expect(phone).toMatchObject({ sideways: false, found: [] });
      const connections = await look(chromium, `${url}connections`, {
        width: 360,
        height: 700,
        scheme: "dark",
      });
      expect(connections).toMatchObject({ sideways: false, found: [] });
      await refreshes(chromium, url, state);
    } finally {
      server.stop();
    }
  },
  60_000,
);

const ROWS =
  "Array.from(document.querySelectorAll('tbody tr'), row => Array.from(row.cells, cell => cell.innerText))";

/** The page as a person sees it, and the violations that axe finds. */
async function look(chromium: Chroot, url: string, screen: Screen) {
  const view = await openPage(chromium, url, screen);
  try {
    const seen = {
      title: view.title,
      text: await view.evaluate<string>("document.body.innerText"),
      ink: await view.evaluate<string>("getComputedStyle(document.body).color"),
      sideways: await view.evaluate<boolean>("document.documentElement.scrollWidth > innerWidth"),
      fetched: await view.evaluate<number>("performance.getEntriesByType('resource').length"),
      rows: await view.evaluate<string[][]>(ROWS),
    };
    await view.evaluate(`(() => { ${axe.source} })()`);
    const { found, passed } = await view.evaluate<{ found: string[]; passed: number }>(
      "axe.run().then(({ violations, passes }) => ({ found: violations.flatMap(({ id, nodes }) => nodes.map(it => id + ': ' + it.html)), passed: passes.length }))",
    );
    expect(passed).toBeGreaterThan(20);
    return { ...seen, found };
  } finally {
    view.close();
  }
}

/** Searches and sorts CIDRs, and changes the state while the page is open. */
async function refreshes(chromium: Chroot, url: string, state: AgentState): Promise<void> {
  const view = await openPage(chromium, url, { width: 1000, height: 800, scheme: "light" });
  const first = async () => (await view.evaluate<string[][]>(cidrs))[0]?.[0];
  const cidrs = ROWS.replace("tbody", "#rows-ip");
  const until = async (condition: () => Promise<boolean>) => {
    while (!(await condition())) await Bun.sleep(20);
  };
  const set = (name: string, value: string) =>
    view.evaluate(
      `(() => { const it = document.querySelector('[name=${name}]'); it.value = '${value}'; it.dispatchEvent(new Event('input', { bubbles: true })); })()`,
    );
  try {
    await set("order", "connections");
    await until(async () => (await first()) === "10.0.0.0/16");
    await set("search", "10.77.1.2");
    await until(async () => (await view.evaluate<string[][]>(cidrs)).length === 1);
    expect(await first()).toBe("10.77.0.0/16");
    await set("search", "/16");
    await set("order", "cidr");
    await until(async () => (await view.evaluate<string[][]>(cidrs))[49]?.[0] === "10.49.0.0/16");
    const top = () => view.evaluate<number>("Math.round(document.forms[0].getBoundingClientRect().top)");
    await view.evaluate("document.forms[0].scrollIntoView()");
    const before = await top();
    state.conflicts = [];
    state.config = undefined;
    // The server renders the page at most once a second.
    await until(async () => {
      await view.evaluate("document.dispatchEvent(new Event('visibilitychange'))");
      await Bun.sleep(100);
      return view.evaluate<boolean>("document.querySelector('#headline .state').className.includes('good')");
    });
    expect(await top()).toBe(before);
    expect(await view.evaluate<string>("document.querySelector('[name=search]').value")).toBe("/16");
    expect((await view.evaluate<string[][]>(cidrs))[49]?.[0]).toBe("10.49.0.0/16");
  } finally {
    view.close();
  }
}
