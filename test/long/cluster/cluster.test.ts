import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { writeFile } from "node:fs/promises";
import { BINARY } from "../../../lab/agent.ts";
import { helm } from "../../deploy/helm.ts";
import { Deployment } from "./deployment.ts";
import { existingWorld } from "./existing.ts";
import { type Figures, keepFigures, outcomeText } from "./figures.ts";
import { UPSTREAM_IMAGE } from "./images.ts";
import { at, seenBy, TRAFFIC } from "./pods.ts";
import { NODE, NODE_ADDRESS } from "./programs.ts";
import { Verdicts } from "./verdicts.ts";
import { ownWorld } from "./world.ts";

/** The limit of a case, in milliseconds: Pods are slow on a busy machine. */
const LIMIT_MS = 180_000;
/** Two resyncs of the agent. */
const IDLE_SECONDS = 120;
/** Keeps the first server, as the defaults do. */
const KEEP_ONE = "nonMasqueradeCIDRs: [10.0.0.0/8, 172.16.0.0/12, 192.168.0.0/16]\n";

const program = await helm();
if (typeof program !== "string") throw new Error(program.missing);
const world = process.env.IPMASQ_IMAGE === undefined ? await ownWorld() : await existingWorld();
const { pods, own } = world;
const deployment = new Deployment(world, program);
const verdicts = new Verdicts(world, deployment);
/** Keeps both servers. */
const KEEP_ALL = KEEP_ONE.replace("]", `, ${world.outbound.replace(/:\d+$/, "")}/32]`);
const figures: Figures = {};
const NEEDS_OWN = own === undefined ? ": needs access to the node or its network" : "";
const MB = 1e6;

beforeAll(async () => {
  await pods.create(world.isDual);
  await verdicts.clientStarted();
}, LIMIT_MS);
afterAll(async () => {
  for (const [what, outcome] of Object.entries(verdicts.outcomes)) figures[what] = outcomeText(outcome);
  await keepFigures(world, figures);
  await world[Symbol.asyncDispose]();
}, LIMIT_MS);

describe("install and remove without a trace", () => {
  test.each([
    ["the rendered manifest", () => deployment.manifest(), () => deployment.remove()],
    ["kustomize", () => deployment.kustomize(), () => deployment.remove()],
    ["Helm", () => deployment.chart(), () => deployment.uninstall()],
  ])(
    "%s",
    async (_, install, remove) => {
      await verdicts.become("pod", "pod");
      await install();
      await verdicts.become("pod", "node");
      expect(await deployment.exec("status")).toMatch(/^in force +yes/);
      await remove();
      expect(await deployment.pods()).toEqual([]);
      await verdicts.nothingLeft();
    },
    LIMIT_MS,
  );
});

test(
  "a ConfigMap is created before the DaemonSet, changed, broken, repaired, deleted, created after it",
  async () => {
    await deployment.configure(KEEP_ALL);
    await deployment.manifest();
    await verdicts.become("pod", "pod");
    await deployment.configure(KEEP_ONE);
    await verdicts.become("pod", "node");
    await deployment.configure("nonMasqueradeCIDRs: [10.0.0.0/8\n");
    await deployment.logs("config rejected");
    await verdicts.become("pod", "node");
    await deployment.configure(KEEP_ALL);
    await verdicts.become("pod", "pod");
    await deployment.configure(KEEP_ALL, "confg");
    await deployment.logs("confg");
    await verdicts.become("pod", "node");
    await deployment.unconfigure();
    await deployment.configure(KEEP_ALL);
    await verdicts.become("pod", "pod");
    await deployment.remove();
    await verdicts.nothingLeft();
  },
  LIMIT_MS,
);

describe("no connection has a wrong address", () => {
  beforeAll(async () => {
    await deployment.manifest();
    await verdicts.become("pod", "node");
  }, LIMIT_MS);
  afterAll(async () => {
    await deployment.remove();
    await verdicts.nothingLeft();
  }, LIMIT_MS);

  test("rolling restart", () => verdicts.during("rolling restart", () => deployment.restart()), LIMIT_MS);

  test(
    "to iptables and back",
    async () => {
      await verdicts.during("nftables to iptables", () => deployment.setEnv("IPMASQ_BACKEND=iptables"));
      await deployment.logs("backend=iptables");
      await verdicts.during("iptables to nftables", () => deployment.setEnv("IPMASQ_BACKEND-"));
      await deployment.logs("backend=nftables");
    },
    LIMIT_MS,
  );

  if (own === undefined) test.skip(`kill -9${NEEDS_OWN}`, () => {});
  else
    test(
      "kill -9, twice",
      () =>
        verdicts.during("kill -9, twice", async () => {
          const { cluster } = own;
          for (let kills = 2; kills > 0; kills--) {
            const killed = await cluster.agentProcess();
            await cluster.node.output(["sh", "-c", `kill -9 ${killed}`]);
            while (["", killed].includes(await cluster.agentProcess())) await Bun.sleep(200);
          }
        }),
      LIMIT_MS,
    );
});

test(
  "20 starts",
  async () => {
    const seconds: number[] = [];
    for (let starts = 20; starts > 0; starts--) {
      const began = performance.now();
      await deployment.manifest();
      seconds.push((performance.now() - began) / 1000);
      await deployment.delete();
    }
    seconds.sort((a, b) => a - b);
    const [least = 0, median = 0, most = 0] = [seconds[0], seconds[10], seconds[19]];
    figures["20 starts: least, median, most"] = [least, median, most]
      .map(it => `${it.toFixed(1)} s`)
      .join(", ");
    await deployment.manifest();
    await deployment.remove();
    await verdicts.nothingLeft();
  },
  5 * LIMIT_MS,
);

const dualStack = own !== undefined ? test : test.skip;
dualStack(
  `dual stack${NEEDS_OWN}`,
  async () => {
    const ipv6 = ["fd00:1::7", "2001:db8:1::7"].map(it => at(it));
    const seen = () => Promise.all(ipv6.map(it => verdicts.owner(it)));
    await deployment.configure("nonMasqueradeCIDRs: [10.0.0.0/8, fd00::/8]\n");
    await deployment.kustomize("dual-stack");
    await verdicts.become("pod", "node");
    expect(await seen()).toEqual(["pod", "node"]);
    await deployment.remove();
    await verdicts.nothingLeft();
    expect(await seen()).toEqual(["pod", "pod"]);
  },
  LIMIT_MS,
);

test(
  "metrics",
  async () => {
    await deployment.kustomize("metrics");
    const path = `--raw=/api/v1/nodes/${world.node}:9469/proxy/metrics`;
    expect(await world.kubectl.output(["get", path])).toContain('ipmasq_syncs_total{trigger="start"');
    await deployment.remove();
  },
  LIMIT_MS,
);

if (own === undefined) {
  for (const it of ["ways to a Service", "drain", "start with rules", "upgrade and back", "memory and CPU"])
    test.skip(`${it}${NEEDS_OWN}`, () => {});
} else {
  const { lab, cluster, hasUpstream } = own;

  /** The address that the server of each way to a Service sees. */
  const services = async (): Promise<Record<string, string>> => {
    const [web = ""] = await pods.addresses("web");
    const { cluster: addresses, nodePort } = await pods.service();
    const from = (name: "node" | "outside", server: string) =>
      seenBy(server, lab[name].command([process.execPath, TRAFFIC]));
    const onNode = at(NODE_ADDRESS, nodePort);
    const ways: Record<string, string> = {
      "Pod to Pod": await pods.seen("client", at(web)),
      "Pod to NodePort": await pods.seen("client", onNode),
      "outside to NodePort": await from("outside", onNode),
    };
    for (const address of addresses) {
      ways[`Pod to ${address}`] = await pods.seen("client", address);
      ways[`Pod to itself by ${address}`] = await pods.seen("web", address);
      ways[`node to ${address}`] = await from("node", address);
    }
    return ways;
  };

  test(
    "ways to a Service are as before",
    async () => {
      const before = await services();
      expect(JSON.stringify(before)).not.toContain("connect");
      await deployment.manifest();
      await verdicts.become("pod", "node");
      expect(await services()).toEqual(before);
      await deployment.setEnv("IPMASQ_BACKEND=iptables");
      expect(await services()).toEqual(before);
      figures["ways to a Service, as without ipmasq"] = `${Object.keys(before).length}`;
      await deployment.setEnv("IPMASQ_BACKEND-");
      await deployment.remove();
      await verdicts.nothingLeft();
    },
    LIMIT_MS,
  );

  test(
    "a node is drained",
    async () => {
      await deployment.manifest();
      const [agent] = await deployment.pods();
      const drain = ["drain", NODE, "--ignore-daemonsets", "--force", "--delete-emptydir-data"];
      await world.kubectl.output([...drain, "--grace-period=0", "--timeout=50s"]);
      expect(await deployment.pods()).toEqual([agent ?? ""]);
      await world.kubectl.output(["uncordon", NODE]);
      await pods.create(world.isDual);
      await verdicts.clientStarted();
      await verdicts.become("pod", "node");
      await deployment.remove();
    },
    LIMIT_MS,
  );

  test(
    "rules written before kubelet starts are taken over by the Pod",
    async () => {
      await writeFile("/run/boot.yaml", KEEP_ONE);
      await lab.node.output([BINARY, "run", "--once", "--config=/run/boot.yaml"]);
      await deployment.configure(KEEP_ONE);
      await verdicts.during("start with rules written before", () => deployment.manifest());
      await deployment.remove();
      await verdicts.nothingLeft();
    },
    LIMIT_MS,
  );

  const upgrade = hasUpstream ? test : test.skip;
  upgrade(
    `${hasUpstream ? "" : "IP_MASQ_AGENT names no binary: "}upgrade from ip-masq-agent and back`,
    async () => {
      await deployment.configure(KEEP_ONE);
      await deployment.upstream();
      await verdicts.become("pod", "node");
      await verdicts.during("upgrade by image", () => deployment.setImage(world.image));
      await deployment.logs("rules applied");
      await verdicts.during("downgrade", async () => {
        await deployment.setEnv("IPMASQ_BACKEND=iptables");
        await deployment.logs("rules applied");
        await deployment.setImage(UPSTREAM_IMAGE);
      });
      await verdicts.become("pod", "node");
      await verdicts.during("upgrade by manifest", async () => {
        await deployment.manifest();
        await deployment.setEnv("IPMASQ_BACKEND-");
      });
      await deployment.remove();
      await verdicts.nothingLeft();
    },
    LIMIT_MS,
  );

  test(
    "memory and CPU of the Pod",
    async () => {
      await deployment.configure(KEEP_ONE);
      await deployment.manifest();
      await Bun.sleep(20_000);
      const first = await cluster.usage();
      await Bun.sleep(1000 * IDLE_SECONDS);
      const later = await cluster.usage();
      const perHour = ((later.cpu - first.cpu) * 3600) / IDLE_SECONDS;
      await deployment.exec("status");
      const { workingSet } = await cluster.usage();
      figures["working set, idle"] = `${(later.workingSet / MB).toFixed(0)} MB`;
      figures["working set after `kubectl exec … ipmasq status`"] = `${(workingSet / MB).toFixed(0)} MB`;
      figures["CPU an hour"] = `${perHour.toFixed(1)} s`;
      const list = Array.from({ length: 45_000 }, (_, i) => `11.${i >> 8}.${i & 255}.1`);
      for (const last of ["12.0.0.1", "12.0.0.2"]) {
        const before = await deployment.log();
        await deployment.configureLong(
          `cidrLimit: 100000\nnonMasqueradeCIDRs: [${[...list, last].map(it => `${it}/32`).join()}]\n`,
        );
        await deployment.logs("rules applied", before.length);
      }
      figures["peak with 45,000 CIDRs"] = `${((await cluster.usage()).peak / MB).toFixed(0)} MB`;
      await deployment.remove();
    },
    2 * LIMIT_MS,
  );
}
