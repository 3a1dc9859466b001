import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { helm } from "../../deploy/helm.ts";
import { Deployment } from "./deployment.ts";
import { Verdicts } from "./verdicts.ts";
import { ownWorld } from "./world.ts";

/** The limit of a case, in milliseconds: Pods are slow on a busy machine. */
const LIMIT_MS = 180_000;
/** Also keeps the second server. */
const KEEP_ALL = "nonMasqueradeCIDRs: [10.0.0.0/8, 203.0.113.0/24]\n";
/** Keeps what the defaults keep. */
const KEEP_ONE = "nonMasqueradeCIDRs: [10.0.0.0/8]\n";

const program = await helm();
if (typeof program !== "string") throw new Error(program.missing);
const world = await ownWorld();
const { pods, own } = world;
const deployment = new Deployment(world, program);
const verdicts = new Verdicts(world, deployment);

beforeAll(async () => {
  await pods.create();
  await verdicts.clientStarted();
}, LIMIT_MS);
afterAll(() => world[Symbol.asyncDispose](), LIMIT_MS);

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

  if (own !== undefined)
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
