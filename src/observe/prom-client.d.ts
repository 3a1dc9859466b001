// biome-ignore-all lint/style/noDefaultExport: each of these files has nothing else
/**
 * The parts of prom-client that are used, each by its own file: the package's main file also loads Node's HTTP client,
 * cluster and performance hooks, which take 6 MB of a running agent.
 */
declare module "prom-client/lib/counter.js" {
  export { Counter as default } from "prom-client";
}
declare module "prom-client/lib/gauge.js" {
  export { Gauge as default } from "prom-client";
}
declare module "prom-client/lib/histogram.js" {
  export { Histogram as default } from "prom-client";
}
declare module "prom-client/lib/registry.js" {
  export { Registry as default } from "prom-client";
}

/** Metrics of the process, which are read when they are asked for. */
type Collects = (registry: import("prom-client").Registry) => void;
declare module "prom-client/lib/metrics/processStartTime.js" {
  const collect: Collects;
  export default collect;
}
declare module "prom-client/lib/metrics/processOpenFileDescriptors.js" {
  const collect: Collects;
  export default collect;
}
declare module "prom-client/lib/metrics/processMaxFileDescriptors.js" {
  const collect: Collects;
  export default collect;
}
