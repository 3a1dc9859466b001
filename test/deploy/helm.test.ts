import { describe, expect, test } from "bun:test";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import * as v from "valibot";
import { parse } from "yaml";
import { output } from "../../lab/output.ts";
import { version } from "../../package.json";
import { CHART, chartFiles } from "../../scripts/helm.ts";
import { jsonSchemas } from "../../src/inspect/json-schema.ts";
import { run } from "../../src/system/program.ts";
import { ipmasq } from "../binary.ts";
import { absent } from "../programs.ts";
import { helm } from "./helm.ts";
import { KUBERNETES_SUITES, kubernetesRelease } from "./kubernetes.ts";
import { documents, manifestValidator } from "./openapi.ts";
import { prometheusOperator } from "./operator.ts";

const BASE = join(CHART, "../../kubernetes/ip-masq-agent.yaml");
const MONITORING = {
  metrics: { enabled: true },
  podMonitor: { enabled: true, labels: { release: "prometheus" }, interval: "30s" },
  serviceMonitor: { enabled: true, labels: { release: "prometheus" }, interval: "30s" },
  prometheusRule: { enabled: true, labels: { release: "prometheus" } },
  dashboard: { enabled: true, annotations: { grafana_folder: "Network" } },
};
/** Every value, not its default. */
const ALL = {
  ...MONITORING,
  image: {
    repository: "registry.example.com/ipmasq",
    digest: `sha256:${"0".repeat(64)}`,
    pullPolicy: "Always",
  },
  imagePullSecrets: [{ name: "registry" }],
  nameOverride: "masquerade",
  fullnameOverride: "",
  config: { nonMasqueradeCIDRs: ["10.0.0.0/8"], masqLinkLocal: true },
  flags: { backend: "iptables", "enable-ipv6": true, "metrics-cidr-limit": 1_000_000 },
  resources: { requests: { memory: "32Mi" } },
  extraEnv: [{ name: "GOMAXPROCS", value: "1" }],
  podLabels: { team: "network" },
  podAnnotations: { "example.com/owner": "network" },
  nodeSelector: { pool: "a" },
  tolerations: [{ key: "a", operator: "Exists" }],
  affinity: { podAntiAffinity: {} },
  priorityClassName: "system-cluster-critical",
  updateStrategy: { type: "OnDelete" },
};

const Env = v.array(v.object({ name: v.string(), value: v.optional(v.string()) }));
const DaemonSet = v.object({
  kind: v.literal("DaemonSet"),
  metadata: v.object({ name: v.string() }),
  spec: v.object({
    template: v.object({
      metadata: v.looseObject({ annotations: v.optional(v.record(v.string(), v.string()), {}) }),
      spec: v.object({ containers: v.tuple([v.object({ image: v.string(), env: Env })]) }),
    }),
  }),
});
const ConfigMap = v.object({ kind: v.literal("ConfigMap"), data: v.object({ config: v.string() }) });

test("the chart's generated files are up to date: npm run manifests", async () => {
  for (const [name, text] of Object.entries(await chartFiles()))
    expect(await Bun.file(join(CHART, name)).text()).toBe(text);
});

test("the chart has this version", async () => {
  expect(parse(await Bun.file(join(CHART, "Chart.yaml")).text())).toMatchObject({
    version,
    appVersion: version,
  });
});

const program = await helm();
if (typeof program === "string") describe("helm", () => chartTests(program));
else absent(program.missing);

function chartTests(helmPath: string) {
  const withValues = async <T>(values: object, body: (file: string) => Promise<T>) => {
    const folder = await mkdtemp(join(tmpdir(), "ipmasq-"));
    const file = join(folder, "values.yaml");
    await Bun.write(file, JSON.stringify(values));
    return await body(file).finally(() => rm(folder, { recursive: true }));
  };
  const template = (values: object) =>
    withValues(values, file =>
      output([helmPath, "template", "ipmasq", CHART, "--namespace=kube-system", `--values=${file}`]),
    );
  const refusal = (values: object) =>
    withValues(values, async file => (await run([helmPath, "template", CHART, `--values=${file}`])).stderr);

  test.each([{}, ALL])("lint finds nothing in %o", async values => {
    const lint = (file: string) => run([helmPath, "lint", "--strict", "--quiet", CHART, `--values=${file}`]);
    expect(await withValues(values, lint)).toMatchObject({ exitCode: 0, stderr: "" });
  });

  test("without values it is the base manifest, with the chart's labels", async () => {
    expect(documents(unlabelled(await template({})))).toEqual(documents(await Bun.file(BASE).text()));
  });

  test("each value has its effect", async () => {
    const rendered = await template(ALL);
    const { metadata, spec } = daemonSet(rendered);
    const { image, env } = spec.template.spec.containers[0];
    expect(metadata.name).toBe("ipmasq-masquerade");
    expect(image).toBe(`registry.example.com/ipmasq@sha256:${"0".repeat(64)}`);
    const ours = env.filter(({ name }) => name.startsWith("IPMASQ_"));
    expect(Object.fromEntries(ours.map(({ name, value }) => [name, value]))).toEqual({
      IPMASQ_NODE_NAME: undefined, // from the downward API
      IPMASQ_LISTEN: "$(NODE_IP):9469",
      IPMASQ_BACKEND: "iptables",
      IPMASQ_ENABLE_IPV6: "true",
      IPMASQ_METRICS_CIDR_LIMIT: "1000000",
    });
    const environment = ours.map(({ name, value = "" }) => [name, value.replace("$(NODE_IP)", "192.0.2.1")]);
    expect(await ipmasq(["check"], Object.fromEntries(environment))).toMatchObject({ exitCode: 0 });
    for (const given of ["masqLinkLocal: true", "30s", "release: prometheus", "grafana_folder: Network"])
      expect(rendered).toContain(given);
    for (const given of ["32Mi", "GOMAXPROCS", "team: network", "owner: network", "pool: a", "key: a"])
      expect(rendered).toContain(given);
    for (const given of [
      "podAntiAffinity",
      "system-cluster-critical",
      "OnDelete",
      "Always",
      "name: registry",
    ])
      expect(rendered).toContain(given);
  });

  test("a changed config changes the Pods", async () => {
    const checksum = async (config: object | null) =>
      daemonSet(await template({ config })).spec.template.metadata.annotations["checksum/config"];
    expect(await checksum(null)).toBeUndefined();
    expect(await checksum({ masqLinkLocal: true })).not.toBe(await checksum({ masqLinkLocal: false }));
  });

  test("the config in the ConfigMap is what the values say", async () => {
    const config = { nonMasqueradeCIDRs: ["10.0.0.0/8", "fd00::/8"], resyncInterval: "1m", cidrLimit: 100 };
    const found = documents(await template({ config })).flatMap(document =>
      v.is(ConfigMap, document) ? [parse(document.data.config)] : [],
    );
    expect(found).toEqual([config]);
  });

  test("the schema of a config is the one in docs", async () => {
    const schema = await Bun.file(join(CHART, "values.schema.json")).json();
    expect(schema.properties.config.properties).toEqual(jsonSchemas().config.properties);
  });

  test.each<[values: object, message: string]>([
    [
      { config: { nonMasqueradeCIDR: [] } },
      "at '/config': additional properties 'nonMasqueradeCIDR' not allowed",
    ],
    [{ config: { masqLinkLocal: "yes" } }, "at '/config/masqLinkLocal'"],
    [{ flags: { "enabel-ipv6": true } }, "at '/flags': additional properties 'enabel-ipv6' not allowed"],
    [{ image: { digest: "sha256:1" } }, "at '/image/digest'"],
    [{ metrics: { port: 0 } }, "at '/metrics/port'"],
    [{ podMonitor: { enabled: true } }, "podMonitor and serviceMonitor need metrics.enabled=true"],
    [{ serviceMonitor: { enabled: true } }, "podMonitor and serviceMonitor need metrics.enabled=true"],
  ])("%j is refused", async (values, message) => {
    expect(await refusal(values)).toContain(message);
  });

  for (const suite of KUBERNETES_SUITES)
    test(`the Kubernetes of Debian ${suite} accepts it`, async () => {
      const release = await kubernetesRelease(suite);
      if ("missing" in release) throw new Error(release.missing);
      const faults = manifestValidator(release.openapi);
      for (const values of [{}, ALL]) expect(faults(await template(values))).toEqual([]);
    });

  test("Prometheus Operator accepts its resources", async () => {
    const operator = await prometheusOperator();
    if ("missing" in operator) throw new Error(operator.missing);
    const own = documents(await template(MONITORING)).filter(it => it.apiVersion.includes("coreos"));
    expect(own.map(({ kind }) => kind).sort()).toEqual(["PodMonitor", "PrometheusRule", "ServiceMonitor"]);
    for (const document of own) expect(await operator.judge(document)).toBe("");
  });
}

function daemonSet(manifest: string) {
  const [found] = documents(manifest).filter(({ kind }) => kind === "DaemonSet");
  return v.parse(DaemonSet, found);
}

/** A manifest without the labels that Helm's conventions add. */
function unlabelled(manifest: string): string {
  return manifest.replaceAll(/^ +(app\.kubernetes\.io\/|helm\.sh\/).*\n/gm, "");
}
