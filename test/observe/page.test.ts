import { expect, test } from "bun:test";
import type { AgentState } from "../../src/observe/agent-state.ts";
import { serve } from "../../src/observe/endpoints.ts";
import { createLog } from "../../src/observe/log.ts";
import { statusPage } from "../../src/observe/page.ts";
import type { Chroot } from "../debian/chroot.ts";
import { policy } from "../policies.ts";
import { programTest } from "../programs.ts";
import { agentState, counter, synced } from "./agent-states.ts";
import { openPage, type Screen } from "./browser.ts";

/** A state with something in every part of the page. */
function full(): AgentState {
  const state = agentState();
  state.policy = policy(
    {
      keep: ["10.0.0.0/8", "10.1.0.0/16", "2001:db8::/32"],
      masquerade: ["10.96.0.0/12"],
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
  state.syncEnded(synced("applied", "start"));
  state.syncEnded(
    synced("repaired", "kernel", 'added=21 firstAdded="chain postrouting {" by=nft (pid 1234)'),
  );
  state.totals.read({
    writer: "nft",
    counters: [counter("keep", "10.0.0.0/8", 12_345, 1_234_567), counter("masquerade", "rest", 7, 420)],
  });
  return state;
}

test.each([
  ["no config yet", () => agentState(), "<strong>Policy not in force:</strong> no valid config yet"],
  ["a rejected config", full, "<strong>Config rejected.</strong> The last good policy stays in force."],
  [
    "contested rules",
    () => Object.assign(full(), { config: undefined, contested: true }),
    "<strong>Policy in force, but contested:</strong> another program keeps changing the rules.",
  ],
  [
    "no problem",
    () => Object.assign(full(), { config: undefined }),
    "<strong>Policy in force.</strong> The kernel has all its rules.",
  ],
])("the headline shows: %s", (_name, state, headline) => {
  expect(statusPage(state())).toContain(headline);
});

test("a long list shows its first 500 rows", () => {
  const state = agentState();
  state.policy = policy({ keep: Array.from({ length: 2000 }, (_, i) => `10.${i >> 8}.${i & 255}.0/24`) });
  const page = statusPage(state);
  expect(page.match(/<tr><td><code>/g)).toHaveLength(500);
  expect(page).toContain("<p>and 1,501 more</p>"); // link-local is in the list too
});

await programTest(
  "chromium",
  "Chromium shows the page in light and dark mode and on a phone",
  async chromium => {
    const log: string[] = [];
    const listen = { address: "127.0.0.1", port: 0 };
    const served = { listen, state: full(), log: createLog("info", "text", line => log.push(line)) };
    const server = serve({
      ...served,
      readCounters: async () => {},
      findConflicts: async () => {},
      metricsCidrLimit: 1000,
    });
    while (log.length === 0) await Bun.sleep(1);
    const url = `http://${/listen=(\S+)/.exec(log[0] ?? "")?.[1]}/`;
    try {
      const light = await look(chromium, url, { width: 1000, height: 800, scheme: "light" });
      expect(light).toMatchObject({ title: "ipmasq", sideways: false, fetched: 0 });
      expect(light.rows).toContainEqual(["10.0.0.0/8", "keep", "12,345", "1,234,567", "/config:2"]);
      expect(light.rows).toContainEqual([
        "10.1.0.0/16",
        "keep (redundant, inside 10.0.0.0/8)",
        "–",
        "–",
        "/config:3",
      ]);
      expect(light.text).toContain("<script>document.title = 1</script>");
      const dark = await look(chromium, url, { width: 1000, height: 800, scheme: "dark" });
      expect([light.ink, dark.ink]).toEqual(["rgb(0, 0, 0)", "rgb(255, 255, 255)"]);
      const phone = await look(chromium, url, { width: 360, height: 700, scheme: "light" });
      expect(phone.sideways).toBe(false);
    } finally {
      server.stop();
    }
  },
  30_000,
);

/** The page as a person sees it. */
async function look(chromium: Chroot, url: string, screen: Screen) {
  const view = await openPage(chromium, url, screen);
  try {
    return {
      title: view.title,
      text: await view.evaluate<string>("document.body.innerText"),
      ink: await view.evaluate<string>("getComputedStyle(document.body).color"),
      sideways: await view.evaluate<boolean>("document.documentElement.scrollWidth > innerWidth"),
      fetched: await view.evaluate<number>("performance.getEntriesByType('resource').length"),
      rows: await view.evaluate<string[][]>(
        "Array.from(document.querySelectorAll('tbody tr'), row => Array.from(row.cells, cell => cell.innerText))",
      ),
    };
  } finally {
    view.close();
  }
}
