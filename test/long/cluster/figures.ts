import * as v from "valibot";
import { keepResults, keptResults } from "../compatibility.ts";
import type { Outcome } from "./verdicts.ts";
import type { World } from "./world.ts";

/** The results of a run, as lines of a table. */
export type Figures = Record<string, string>;

/** Names the loads in the figures. */
export function outcomeText({ connections, wrong }: Outcome): string {
  return `${wrong} wrong of ${connections.toLocaleString("en")}`;
}

/** Keeps the figures of this cluster beside those of others. Cases that did not run keep their previous figures. */
export async function keepFigures({ versions }: World, figures: Figures): Promise<void> {
  const name = `Kubernetes ${versions.Kubernetes}, ${versions["kube-proxy's rules"]}`;
  const date = new Date().toISOString().slice(0, 10);
  const kept = v.parse(v.optional(Raw, {}), (await keptResults("cluster"))[0]?.raw);
  const raw: Record<string, Figures> = { ...kept, [name]: { ...kept[name], ...versions, ...figures, date } };
  const clusters = Object.keys(raw).sort();
  const lines = [...new Set(clusters.flatMap(it => Object.keys(raw[it] ?? {})))];
  const rows = lines.map(line => [line, ...clusters.map(it => raw[it]?.[line] ?? "not tested")]);
  const table = { title: "A cluster of one node", how: HOW, columns: ["", ...clusters], rows, raw };
  await keepResults("cluster", [table]);
}

const Raw = v.record(v.string(), v.record(v.string(), v.string()));

const HOW = `A node in namespaces, with etcd, containerd, runc and CNI plugins of a Debian release. A Pod opens 200 connections/s, half of them to a server that the config keeps and half to one that it masquerades; each server tells which address it sees. A start is the time from \`kubectl create\` until the DaemonSet is ready, with the image on the node. Memory and CPU are those of the agent's cgroup, with the programs that it runs and with probes; the working set is what kubelet counts: without pages of files that the kernel can drop at once.`;
