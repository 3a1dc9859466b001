/** `npm run manifests`: writes the generated files of deploy/. */
import { join } from "node:path";
import { parse, stringify } from "yaml";
import { output } from "../lab/output.ts";
import { kubernetesRelease } from "../test/deploy/kubernetes.ts";
import { dashboard } from "./dashboard.ts";
import { CHART, chartFiles } from "./helm.ts";

const FOLDER = join(import.meta.dir, "../deploy");
const RULES = join(FOLDER, "monitoring/rules.yaml");

/** The rules, for Prometheus Operator. */
export async function prometheusRule(): Promise<string> {
  const { groups }: { groups: unknown } = parse(await Bun.file(RULES).text());
  const metadata = {
    name: "ip-masq-agent",
    namespace: "kube-system",
    labels: { "k8s-app": "ip-masq-agent" },
  };
  const rule = { apiVersion: "monitoring.coreos.com/v1", kind: "PrometheusRule", metadata, spec: { groups } };
  const comment = "# Generated from deploy/monitoring/rules.yaml by npm run manifests.";
  return `${comment}\n${stringify(rule, { lineWidth: 0 })}`;
}

export function dashboardText(): string {
  return `${JSON.stringify(dashboard(), null, 2)}\n`;
}

if (import.meta.main) {
  const release = await kubernetesRelease("forky");
  if ("missing" in release) throw new Error(release.missing);
  const base = join(FOLDER, "kubernetes/base");
  const rendered = await output([...release.kubectl, "kustomize", base]);
  await Bun.write(
    join(FOLDER, "kubernetes/ip-masq-agent.yaml"),
    `# Rendered from base by npm run manifests.\n${rendered}`,
  );
  await Bun.write(join(FOLDER, "kubernetes/components/alerts/prometheus-rule.yaml"), await prometheusRule());
  await Bun.write(join(FOLDER, "monitoring/dashboard.json"), dashboardText());
  for (const [name, text] of Object.entries(await chartFiles())) await Bun.write(join(CHART, name), text);
}
