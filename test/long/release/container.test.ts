import {
  afterAll,
  afterEach,
  beforeAll,
  beforeEach,
  describe,
  expect,
  setDefaultTimeout,
  test,
} from "bun:test";
import { mkdtemp, writeFile } from "node:fs/promises";
import { stringify } from "yaml";
import { Lab } from "../../../lab/lab.ts";
import { Lines } from "../../../lab/lines.ts";
import { WRITERS } from "../../../lab/writers.ts";
import { debianTools } from "../../debian/tools.ts";
import { absent } from "../../programs.ts";
import { ConfigVolume } from "./config-volume.ts";
import { ARCHITECTURE, builtImage, IMAGE } from "./image.ts";
import { type Probe, podTemplate } from "./manifest.ts";
import { type Container, Podman } from "./podman.ts";

const KEPT = "10.1.2.3";
const OUTBOUND = "203.0.113.7";
/** Timeout of a test and its preparation on a busy machine; podman takes up to a second for each. */
const LIMIT_MS = 60_000;
setDefaultTimeout(LIMIT_MS);

const SERVING = "serving metrics and health";
const LOCK = "/run/xtables.lock";

const { metadata, spec } = await podTemplate();
const [manifest] = spec.containers;
const CAPABILITIES = manifest.securityContext.capabilities.add;

/** The options with which kubelet would run the manifest's container, with podman's default seccomp profile. */
const CONFINED = [
  "--read-only",
  "--read-only-tmpfs=false",
  "--cap-drop=ALL",
  "--security-opt=no-new-privileges",
];
const AS_IN_MANIFEST = [...CONFINED, ...CAPABILITIES.map(it => `--cap-add=${it}`)];

let podman: Podman;
let lab: Lab;
const start = (...argv: string[]): Container => podman.start(lab.node, "agent", argv);
const owner = (to: string) => lab.ownerSeen({ protocol: "tcp", to });

/** The result of a probe, as kubelet sees it. */
const probe = ({ httpGet: { host, port, path } }: Probe) =>
  lab.node.output([
    process.execPath,
    "-e",
    `const { status } = await fetch("http://${host}:${port}${path}"); console.log(status)`,
  ]);
const probes = async () =>
  Object.fromEntries(
    await Promise.all(
      [manifest.livenessProbe, manifest.readinessProbe].map(async it => [
        it.httpGet.path,
        Number(await probe(it)),
      ]),
    ),
  );

/** The restrictions of a container's first process. */
async function confinement(name: string) {
  const pid = (await podman.output(["inspect", "--format={{.State.Pid}}", name])).trim();
  const status = await Bun.file(`/proc/${pid}/status`).text();
  const value = (key: string) => new RegExp(`^${key}:\\s*(\\S+)`, "m").exec(status)?.[1];
  return ["Uid", "CapPrm", "CapEff", "CapBnd", "NoNewPrivs", "Seccomp"].map(key => `${key} ${value(key)}`);
}

/** NET_ADMIN and NET_RAW; seccomp 2 is a filter. */
const HELD_TO = [
  "Uid 0",
  "CapPrm 0000000000003000",
  "CapEff 0000000000003000",
  "CapBnd 0000000000003000",
  "NoNewPrivs 1",
  "Seccomp 2",
];

const built = builtImage(ARCHITECTURE);
if (typeof built !== "string") absent(built.missing);
else describe("a container", () => tests(built));

function tests(archive: string): void {
  beforeAll(async () => {
    podman = await Podman.create(archive);
  }, LIMIT_MS);
  afterAll(() => podman[Symbol.asyncDispose](), LIMIT_MS);
  beforeEach(async () => {
    lab = await Lab.create();
    await writeFile(LOCK, "");
  }, LIMIT_MS);
  afterEach(async () => {
    await podman.output(["rm", "--all", "--force", "--time=0"]);
    await lab.close();
  }, LIMIT_MS);

  describe.each(WRITERS)("the image, with $name", ({ name, flags, prepare }) => {
    test("works with the manifest's privileges, follows a ConfigMap, and stops on request", async () => {
      await prepare(lab);
      const volume = await ConfigVolume.create(await mkdtemp("/run/config-"), "");
      const mounts = [`--volume=${volume.path}:/etc/config/ip-masq-agent:ro`, `--volume=${LOCK}:${LOCK}`];
      const agent = start(...AS_IN_MANIFEST, ...mounts, IMAGE, ...flags);
      await agent.log.until(SERVING);
      expect(await lab.node.output(podman.command(["exec", "agent", "ipmasq", "status"]))).toContain(
        `, by ${name === "nftables" ? "nft" : name}: `,
      );
      expect(await confinement("agent")).toEqual(HELD_TO);
      expect(await probes()).toEqual({ "/healthz": 200, "/readyz": 200 });
      expect([await owner(KEPT), await owner(OUTBOUND)]).toEqual(["pod", "node"]);

      await volume.save("nonMasqueradeCIDRs: [203.0.113.0/24]\n");
      await agent.log.until("rules applied");
      expect([await owner(KEPT), await owner(OUTBOUND)]).toEqual(["node", "pod"]);

      expect(await agent.stop()).toBe(0);
      expect([await owner(KEPT), await owner(OUTBOUND)]).toEqual(["node", "pod"]);
    });
  });

  test("applies and repairs rules beside a set that a newer nft declared by its type", async () => {
    const [old, newest] = await Promise.all(["bullseye", "forky"].map(debianTools));
    if (!old || "missing" in old || !newest || "missing" in newest)
      throw new Error("Debian's nft is missing");
    const foreign = "add table ip other; add set ip other s { type ipv4_addr; }";
    await lab.node.output([...newest.nft, foreign]);
    const crash = lab.node.spawn([...old.nft, "list", "tables"], { stderr: "ignore" });
    await crash.exited;
    expect(crash.signalCode ?? crash.exitCode).toBe("SIGSEGV");
    const agent = start(...AS_IN_MANIFEST, IMAGE, "--backend=nftables");
    await agent.log.until("rules applied");
    expect([await owner(KEPT), await owner(OUTBOUND)]).toEqual(["pod", "node"]);
    await lab.node.output([...newest.nft, "delete table ip ip-masq-agent"]);
    await agent.log.until("repaired");
    expect([await owner(KEPT), await owner(OUTBOUND)]).toEqual(["pod", "node"]);
  });

  test("writes ip-masq-agent's chain with the arguments of its manifests", async () => {
    const agent = start(...AS_IN_MANIFEST, IMAGE, "--masq-chain=IP-MASQ", "--nomasq-all-reserved-ranges");
    await agent.log.until("rules applied");
    expect(await lab.node.output(["nft", "list", "chain", "ip", "ip-masq-agent", "IP-MASQ"])).toContain(
      "masquerade",
    );
    expect([await owner(OUTBOUND), await owner("1.2.3.4")]).toEqual(["pod", "node"]);
  });

  test("supports --to-ports and IPv6, which need /etc/protocols", async () => {
    const agent = start(...AS_IN_MANIFEST, IMAGE, "--enable-ipv6", "--to-ports=1024-1033");
    await agent.log.until("rules applied");
    for (const to of [OUTBOUND, "2001:db8:1::7"]) {
      const { source, port } = await lab.connect({ protocol: "udp", to });
      expect(lab.owner(source)).toBe("node");
      expect(port).toBeWithin(1024, 1034);
    }
  });

  describe("reports what is missing", () => {
    test("without NET_ADMIN", async () => {
      const agent = start(...CONFINED, IMAGE);
      await agent.log.until("run as root, or with the capability NET_ADMIN");
      await agent.log.until(SERVING);
      expect(await probes()).toEqual({ "/healthz": 200, "/readyz": 503 });
      expect(await agent.stop()).toBe(0);
    });

    test("with iptables-legacy and no lock file", async () => {
      await lab.node.output(["iptables-legacy", "-t", "mangle", "-N", "KUBE-IPTABLES-HINT"]);
      const agent = start(...AS_IN_MANIFEST, IMAGE, "--backend=iptables");
      await agent.log.until("mount the node's /run/xtables.lock");
      await agent.log.until(SERVING);
      expect(await probes()).toEqual({ "/healthz": 200, "/readyz": 503 });
      expect(await owner(OUTBOUND)).toBe("pod");
    });

    test.each(["sh", "/bin/sh", "/bin/bash", "/usr/bin/busybox", "apt-get", "dpkg"])(
      "to who wants %s",
      async program => {
        expect(await start(`--entrypoint=${program}`, IMAGE).exited).toBe(127);
      },
    );

    test("when asked to run a shell", async () => {
      const agent = start(IMAGE, "sh", "-c", "id");
      expect(await agent.exited).toBe(64);
    });
  });

  test("the manifest's Pod starts, follows its ConfigMap, and stops on request", async () => {
    const pod = { apiVersion: "v1", kind: "Pod", metadata: { ...metadata, name: "pod" }, spec };
    const configMap = {
      apiVersion: "v1",
      kind: "ConfigMap",
      metadata: { name: "ip-masq-agent" },
      data: { config: "nonMasqueradeCIDRs: [10.0.0.0/8]\n" },
    };
    // Podman does not support spec.nodeName, from which the manifest names the node.
    const withoutReferences = (key: unknown, value: unknown) => (key === "valueFrom" ? undefined : value);
    await writeFile("/run/pod.yaml", stringify(pod, withoutReferences));
    await writeFile("/run/configmap.yaml", stringify(configMap));
    // Podman warns that it cannot create timers for the probes without systemd. Kubelet runs probes itself.
    await lab.node.output(
      podman.command(["kube", "play", "--configmap=/run/configmap.yaml", "/run/pod.yaml"]),
    );
    const container = `pod-${manifest.name}`;
    const log = new Lines(
      lab.node.spawn(podman.command(["logs", "--follow", container]), { stderr: "pipe" }).stderr,
    );
    await log.until(SERVING);
    expect(await confinement(container)).toEqual(HELD_TO);
    expect(await probes()).toEqual({ "/healthz": 200, "/readyz": 200 });
    expect([await owner(KEPT), await owner(OUTBOUND)]).toEqual(["pod", "node"]);

    // Podman writes a ConfigMap volume once; this replaces it with one that changes as kubelet's.
    const volume = await podman.output(["volume", "inspect", "--format={{.Mountpoint}}", "ip-masq-agent"]);
    await ConfigVolume.create(volume.trim(), "nonMasqueradeCIDRs: [203.0.113.0/24]\n");
    await log.until("rules applied");
    expect([await owner(KEPT), await owner(OUTBOUND)]).toEqual(["node", "pod"]);

    await podman.output(["stop", "--time=1", container]);
    expect((await podman.output(["inspect", "--format={{.State.ExitCode}}", container])).trim()).toBe("0");
    await podman.output(["kube", "down", "/run/pod.yaml"]);
  });
}
