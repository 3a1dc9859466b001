import { expect } from "bun:test";
import { mkdtemp, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join, relative } from "node:path";
import * as v from "valibot";
import { output } from "../../../lab/output.ts";
import { UPSTREAM_IMAGE } from "./images.ts";
import type { World } from "./world.ts";

const DEPLOY = join(import.meta.dirname, "../../../deploy");
const MANIFEST = join(DEPLOY, "kubernetes/ip-masq-agent.yaml");
const IN = "--namespace=kube-system";
const OURS = "ds/ip-masq-agent";

/** The DaemonSet of a cluster under test, and its ConfigMap. */
export class Deployment {
  readonly #world: World;
  readonly #program: string;

  /** @param helm the path of helm */
  constructor(world: World, helm: string) {
    this.#world = world;
    this.#program = helm;
  }

  /** Applies the rendered manifest. */
  async manifest(): Promise<void> {
    const text = await Bun.file(MANIFEST).text();
    await this.#kubectl(["apply", "--filename=-"], text.replace(/image: .*/, `image: ${this.#world.image}`));
    await this.rolledOut();
  }

  /** Applies the base with components, by kustomize. */
  async kustomize(...components: readonly string[]): Promise<void> {
    const folder = await mkdtemp(join(tmpdir(), "ipmasq-"));
    const path = (name: string) => relative(folder, join(DEPLOY, "kubernetes", name));
    const [newName, newTag] = this.#image;
    const kustomization = {
      resources: [path("base")],
      components: components.map(name => path(`components/${name}`)),
      images: [{ name: "localhost/ipmasq", newName, newTag }],
    };
    await writeFile(join(folder, "kustomization.yaml"), JSON.stringify(kustomization));
    await this.#kubectl(["apply", `--kustomize=${folder}`]);
    await this.rolledOut();
  }

  /** Installs or upgrades the chart. */
  async chart(...options: readonly string[]): Promise<void> {
    const [repository, tag] = this.#image;
    const image = [`--set=image.repository=${repository}`, `--set-string=image.tag=${tag}`];
    await this.#helm(["upgrade", "--install", "ipmasq", join(DEPLOY, "helm/ipmasq"), ...image, ...options]);
    await this.rolledOut();
  }

  /** Uninstalls the chart, with the rules. */
  async uninstall(): Promise<void> {
    await this.setEnv("IPMASQ_CLEANUP_ON_EXIT=true");
    await this.#helm(["uninstall", "ipmasq"]);
    await this.delete();
  }

  /** Applies the manifest of ip-masq-agent, which differs from its README only in the image. */
  async upstream(): Promise<void> {
    await this.#world.kubectl.apply(UPSTREAM);
    await this.rolledOut();
  }

  /** Changes only the image. */
  async setImage(image: string): Promise<void> {
    await this.#kubectl(["set", "image", OURS, `ip-masq-agent=${image}`]);
    await this.rolledOut();
  }

  /** Waits until the agents of all nodes run the current template, and are ready. */
  async rolledOut(): Promise<void> {
    await this.#kubectl(["rollout", "status", OURS, "--timeout=50s"]);
  }

  /** Sets environment variables of the container, and waits for the rollout. */
  async setEnv(...variables: readonly string[]): Promise<void> {
    await this.#kubectl(["set", "env", OURS, ...variables]);
    await this.rolledOut();
  }

  /** Removes the DaemonSet and its rules, as docs/install.md says. */
  async remove(): Promise<void> {
    await this.setEnv("IPMASQ_CLEANUP_ON_EXIT=true");
    await this.delete();
  }

  /** Deletes the DaemonSet, which leaves the rules, and the ConfigMap. */
  async delete(): Promise<void> {
    await this.#kubectl([
      "delete",
      "daemonset,configmap",
      "ip-masq-agent",
      "--ignore-not-found",
      "--timeout=50s",
    ]);
    await this.#kubectl([
      "wait",
      "--for=delete",
      "pods",
      "--selector=k8s-app=ip-masq-agent",
      "--timeout=50s",
    ]);
  }

  /** Creates the ConfigMap, or changes it, as `kubectl apply` does. */
  async configure(config: string, key = "config"): Promise<void> {
    await this.#world.kubectl.apply(configMap({ [key]: config }));
    await this.deliver();
  }

  /** Replaces the ConfigMap, which must exist, by one that is too long for `kubectl apply`. */
  async configureLong(config: string): Promise<void> {
    await this.#kubectl(["replace", "--filename=-"], JSON.stringify(configMap({ config })));
    await this.deliver();
  }

  /** Deletes the ConfigMap. */
  async unconfigure(): Promise<void> {
    await this.#kubectl(["delete", "configmap", "ip-masq-agent"]);
    await this.deliver();
  }

  /** Makes kubelet deliver the ConfigMap now: it looks at the volumes of a Pod whose annotations change. */
  async deliver(): Promise<void> {
    const annotation = `ipmasq-test/delivered=${Date.now()}`;
    await this.#kubectl(["annotate", "pods", "--selector=k8s-app=ip-masq-agent", "--overwrite", annotation]);
  }

  /** Restarts the agents one by one. */
  async restart(): Promise<void> {
    await this.#kubectl(["rollout", "restart", OURS]);
    await this.rolledOut();
  }

  /**
   * Waits until an agent logs a text.
   *
   * @param from the length of the log before
   */
  async logs(text: string, from = 0): Promise<void> {
    for (let left = 100; left > 0; left--) {
      if ((await this.log()).includes(text, from)) return;
      await Bun.sleep(100);
    }
    expect((await this.log()).slice(from)).toContain(text);
  }

  /** The log of one agent. */
  log(): Promise<string> {
    return this.#kubectl(["logs", OURS]);
  }

  /** The output of a command of ipmasq in one of the Pods. */
  exec(...words: readonly string[]): Promise<string> {
    return this.#kubectl(["exec", OURS, "--", "ipmasq", ...words]);
  }

  /** The names of the Pods. */
  async pods(): Promise<string[]> {
    const List = v.object({ items: v.array(v.object({ metadata: v.object({ name: v.string() }) })) });
    const { items } = await this.#world.kubectl.get(List, ["pods", IN, "--selector=k8s-app=ip-masq-agent"]);
    return items.map(({ metadata }) => metadata.name);
  }

  get #image(): [name: string, tag: string] {
    const [, name = "", tag = ""] = /^(.*):([^:/]*)$/.exec(this.#world.image) ?? [];
    return [name, tag];
  }

  #kubectl(argv: readonly string[], input?: string): Promise<string> {
    return this.#world.kubectl.output([IN, ...argv], input);
  }

  async #helm(argv: readonly string[]): Promise<void> {
    const { kubectl } = this.#world;
    const prefix = this.#world.own?.lab.node.command([]) ?? [];
    await output([...prefix, this.#program, IN, `--kubeconfig=${kubectl.config}`, ...argv]);
  }
}

const METADATA = { name: "ip-masq-agent", namespace: "kube-system" };

function configMap(data: Readonly<Record<string, string>>): object {
  return { apiVersion: "v1", kind: "ConfigMap", metadata: METADATA, data };
}

const LABELS = { "k8s-app": "ip-masq-agent" };
const UPSTREAM = {
  apiVersion: "apps/v1",
  kind: "DaemonSet",
  metadata: METADATA,
  spec: {
    selector: { matchLabels: LABELS },
    template: {
      metadata: { labels: LABELS },
      spec: {
        hostNetwork: true,
        containers: [
          {
            name: "ip-masq-agent",
            image: UPSTREAM_IMAGE,
            securityContext: { privileged: false, capabilities: { add: ["NET_ADMIN", "NET_RAW"] } },
            volumeMounts: [{ name: "config", mountPath: "/etc/config" }],
          },
        ],
        volumes: [
          {
            name: "config",
            configMap: {
              name: "ip-masq-agent",
              optional: true,
              items: [{ key: "config", path: "ip-masq-agent" }],
            },
          },
        ],
      },
    },
  },
};
