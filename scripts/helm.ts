/** The generated files of the Helm chart: its schema, its README, and its copies of alerts and dashboard. */
import { join } from "node:path";
import { isMap, isNode, isScalar, parseDocument, type YAMLMap } from "yaml";
import { AGENT_FLAGS, KLOG_FLAGS } from "../src/cli/flags.ts";
import { jsonSchemas } from "../src/inspect/json-schema.ts";
import { dashboard } from "./dashboard.ts";

const DEPLOY = join(import.meta.dir, "../deploy");
export const CHART = join(DEPLOY, "helm/ipmasq");

/** The files by their paths in the chart. */
export async function chartFiles(): Promise<Readonly<Record<string, string>>> {
  return {
    "values.schema.json": `${JSON.stringify(valuesSchema(), null, 2)}\n`,
    "README.md": await readme(),
    "files/rules.yaml": await Bun.file(join(DEPLOY, "monitoring/rules.yaml")).text(),
    "files/dashboard.json": `${JSON.stringify(dashboard())}\n`,
  };
}

/** The schema of the values. Kubernetes' own types stay open: the API server checks them. */
function valuesSchema(): object {
  const text = { type: "string" };
  const toggle = { type: "boolean" };
  const object = { type: "object" };
  const list = { type: "array" };
  const labels = { type: "object", additionalProperties: text };
  const monitor = { enabled: toggle, labels, interval: text };
  const { title: _, $schema, type: __, ...config } = jsonSchemas().config;
  return closed(
    {
      image: closed({
        repository: { type: "string", minLength: 1 },
        tag: text,
        digest: { type: "string", pattern: "^(sha256:[0-9a-f]{64})?$" },
        pullPolicy: { enum: ["Always", "IfNotPresent", "Never"] },
      }),
      imagePullSecrets: list,
      nameOverride: text,
      fullnameOverride: text,
      config: { type: ["object", "null"], ...config },
      existingConfigMap: text,
      flags: closed(flagTypes()),
      metrics: closed({
        enabled: toggle,
        port: { type: "integer", minimum: 1, maximum: 65_535 },
        host: text,
      }),
      podMonitor: closed(monitor),
      serviceMonitor: closed(monitor),
      prometheusRule: closed({ enabled: toggle, labels }),
      dashboard: closed({ enabled: toggle, labels, annotations: labels }),
      resources: object,
      extraEnv: list,
      podLabels: labels,
      podAnnotations: labels,
      nodeSelector: labels,
      tolerations: list,
      affinity: object,
      priorityClassName: text,
      updateStrategy: object,
      global: object,
    },
    { $schema },
  );
}

/** The flags that the chart does not set itself. */
function flagTypes(): Record<string, object> {
  const own = ["config", "listen", "node-name", "runtime-dir"];
  const names = [...Object.keys(AGENT_FLAGS), ...Object.keys(KLOG_FLAGS)];
  const scalar = { type: ["string", "number", "boolean"] };
  return Object.fromEntries(names.filter(name => !own.includes(name)).map(name => [name, scalar]));
}

function closed(properties: Record<string, object>, more: object = {}): object {
  return { ...more, type: "object", properties, additionalProperties: false };
}

async function readme(): Promise<string> {
  const { contents } = parseDocument(await Bun.file(join(CHART, "values.yaml")).text());
  if (!isMap(contents)) throw new Error("values.yaml is not a mapping");
  const rows = [...valuesOf(contents)].map(
    ({ path, value, meaning }) => `| \`${path}\` | \`${value}\` | ${meaning} |`,
  );
  return `# Helm chart of ipmasq

ipmasq decides which connections leave a node with the node's address (masquerade) and which keep the Pod's. This
chart installs its DaemonSet. Build the image first and push it to your registry; then, in the checkout:

    helm install ipmasq deploy/helm/ipmasq --namespace=kube-system \\
        --set image.repository=registry.example.com/ipmasq

To replace an ip-masq-agent and keep its ConfigMap, add \`--take-ownership\` (Helm 3.17 or later). Its rules stay in
force until those of ipmasq are.

With the config among the values, \`helm upgrade\` restarts the agents if it changed. Otherwise kubelet delivers a changed
ConfigMap within two minutes.

    # values.yaml
    image:
      repository: registry.example.com/ipmasq
    config:
      nonMasqueradeCIDRs: [10.0.0.0/8, 100.64.0.0/10]
    flags:
      backend: nftables

## Values

| value | default | meaning |
|---|---|---|
${rows.join("\n")}

Helm checks the values, the config included, by \`values.schema.json\`. This page is made from \`values.yaml\`.
`;
}

interface Value {
  readonly path: string;
  readonly value: string;
  readonly meaning: string;
}

/** The values that have a comment. The parser gives the comment of a mapping's first key to the mapping. */
function* valuesOf(map: YAMLMap, parents: readonly string[] = []): Generator<Value> {
  for (const [i, { key, value }] of map.items.entries()) {
    if (!isScalar(key) || !isNode(value)) continue;
    const path = [...parents, String(key.value)];
    const comment = key.commentBefore ?? (i === 0 ? map.commentBefore : undefined);
    if (comment) {
      const meaning = comment.trim().replaceAll(/\s*\n\s*/g, " ");
      yield { path: path.join("."), value: JSON.stringify(value.toJSON()), meaning };
    } else if (isMap(value)) yield* valuesOf(value, path);
  }
}
