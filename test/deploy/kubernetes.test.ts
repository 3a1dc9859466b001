import { describe, expect, test } from "bun:test";
import { realpathSync } from "node:fs";
import { mkdtemp, readdir, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join, relative, resolve } from "node:path";
import * as v from "valibot";
import { output } from "../../lab/output.ts";
import { version } from "../../package.json";
import { BUN_VARIABLES } from "../../src/cli/environment.ts";
import { ipmasq } from "../binary.ts";
import { absent } from "../programs.ts";
import { KUBERNETES_SUITES, kubernetesRelease } from "./kubernetes.ts";
import { documents, manifestValidator } from "./openapi.ts";
import { prometheusOperator } from "./operator.ts";

const FOLDER = join(import.meta.dir, "../../deploy/kubernetes");
const RENDERED = join(FOLDER, "ip-masq-agent.yaml");
const OVERLAYS = (await readdir(join(FOLDER, "overlays"))).map(name => `overlays/${name}`);

const DaemonSet = v.object({
  kind: v.literal("DaemonSet"),
  spec: v.object({
    template: v.object({
      spec: v.object({
        containers: v.tuple([
          v.object({
            image: v.string(),
            env: v.optional(v.array(v.object({ name: v.string(), value: v.optional(v.string()) })), []),
          }),
        ]),
      }),
    }),
  }),
});

const releases = await Promise.all(KUBERNETES_SUITES.map(kubernetesRelease));
for (const release of releases) {
  if ("missing" in release) absent(release.missing);
  else describe(`Kubernetes ${release.version}`, () => checkedWith(release));
}

function checkedWith({ kubectl, openapi }: Exclude<(typeof releases)[number], { missing: string }>) {
  const faults = manifestValidator(openapi);
  const render = (folder: string) => output([...kubectl, "kustomize", resolve(FOLDER, folder)]);

  test("ip-masq-agent.yaml matches the rendered base: npm run manifests", async () => {
    const [first, ...rendered] = (await Bun.file(RENDERED).text()).split("\n");
    expect(first).toStartWith("#");
    expect(rendered.join("\n")).toBe(await render("base"));
  });

  test.each(["base", ...OVERLAYS])(
    "%s clears the variables that make the binary run other code",
    async folder => {
      const { env } = container(await render(folder));
      expect(env).toEqual(expect.arrayContaining(BUN_VARIABLES.map(name => ({ name, value: "" }))));
    },
  );

  test.each(["base", ...OVERLAYS])("%s matches the schemas", async folder => {
    expect(faults(await render(folder))).toEqual([]);
  });

  test("all components can be combined", async () => {
    const folder = await mkdtemp(join(tmpdir(), "ipmasq-"));
    const path = (...names: string[]) => relative(realpathSync(folder), join(FOLDER, ...names));
    const components = (await readdir(join(FOLDER, "components"))).filter(name => name !== "gke");
    const kustomization = {
      resources: [path("base")],
      components: components.map(name => path("components", name)),
      images: [{ name: "localhost/ipmasq", newName: "registry.example.com/ipmasq" }],
    };
    await writeFile(join(folder, "kustomization.yaml"), JSON.stringify(kustomization));
    const rendered = await render(folder);
    await rm(folder, { recursive: true });
    expect(faults(rendered)).toEqual([]);
    const { image, env } = container(rendered);
    expect(image).toBe(`registry.example.com/ipmasq:${version}`);
    const ours = env.map(({ name }) => name).filter(name => !name.startsWith("BUN_"));
    expect(ours.sort()).toEqual([
      "IPMASQ_BACKEND",
      "IPMASQ_ENABLE_IPV6",
      "IPMASQ_LISTEN",
      "IPMASQ_NODE_NAME",
      "NODE_IP",
    ]);
  });

  test.each(OVERLAYS)("the agent accepts every flag of %s", async folder => {
    const { env } = container(await render(folder));
    const entries = env.map(({ name, value = "" }) => [name, value.replace("$(NODE_IP)", "192.0.2.1")]);
    expect(await ipmasq(["check"], Object.fromEntries(entries))).toMatchObject({ stderr: "", exitCode: 0 });
  });

  test("the ConfigMap of dual-stack has CIDRs of both families", async () => {
    const file = join(await mkdtemp(join(tmpdir(), "ipmasq-")), "dual-stack.yaml");
    await writeFile(file, await render("overlays/dual-stack"));
    const argv = ["check", "--strict", "--enable-ipv6", `--config=${file}`];
    expect(await ipmasq(argv)).toEqual({ stdout: `${file}: no problems\n`, stderr: "", exitCode: 0 });
  });

  test("control: the schemas find mistakes", () => {
    const wrong = `
apiVersion: apps/v1
kind: DaemonSet
spec:
  selector: {}
  template:
    spec:
      hostNetwork: "yes"
      containers:
        - image: x
          securityContext: { readonlyRootFilesystem: true }
`;
    expect(faults(wrong)).toEqual([
      "/spec/template/spec/containers/0 must have required property 'name'",
      "/spec/template/spec/containers/0/securityContext must NOT have additional properties readonlyRootFilesystem",
      "/spec/template/spec/hostNetwork must be boolean",
    ]);
  });
}

const operator = await prometheusOperator();
if ("missing" in operator) absent(operator.missing);
else
  describe("Prometheus Operator", () => {
    test.each([
      "pod-monitor/pod-monitor.yaml",
      "service-monitor/service-monitor.yaml",
      "alerts/prometheus-rule.yaml",
    ])("accepts %s", async path => {
      for (const document of documents(await Bun.file(join(FOLDER, "components", path)).text()))
        expect(await operator.judge(document)).toBe("");
    });

    test("control: finds mistakes", async () => {
      const monitor = { apiVersion: "monitoring.coreos.com/v1", kind: "PodMonitor" };
      const spec = { podMetricsEndpoints: [{ port: 9469 }] };
      const faults = await operator.judge({ ...monitor, spec });
      expect(faults).toContain("data/spec/podMetricsEndpoints/0/port must be string");
      expect(faults).toContain("data/spec must have required property selector");
    });
  });

test("the image has this version", async () => {
  expect(container(await Bun.file(RENDERED).text()).image).toBe(`localhost/ipmasq:${version}`);
});

test("the arguments of GKE's manifest are accepted", async () => {
  const klog = ["--v=2", "--logtostderr=false", "--log_file=/dev/stdout", "--log_file_max_size=0"];
  const { exitCode } = await ipmasq(["check", ...klog, "--masq-chain=IP-MASQ", "--random-fully=false"]);
  expect(exitCode).toBe(0);
});

/** The container of the DaemonSet. */
function container(manifest: string) {
  const [daemonSet] = documents(manifest).filter(({ kind }) => kind === "DaemonSet");
  return v.parse(DaemonSet, daemonSet).spec.template.spec.containers[0];
}
