/**
 * All flags that commands share. Each is one valibot schema, from the text on the command line to its value, with its
 * help as metadata: parser, environment variables and help are derived from it.
 */
import * as v from "valibot";
import { parseChainName } from "../backends/ownership.ts";
import { parseResyncInterval, raisedInterval } from "../net/duration.ts";
import { parseListen } from "../net/listen.ts";
import { type ParseFailure, parsedBy } from "../net/parse-failure.ts";
import { type PortRange, parsePortRanges } from "../net/ports.ts";
import { withRemedy } from "../system/errors.ts";

/** The metadata of a flag. */
export interface FlagNote {
  /** The placeholder for the value in help; a switch has none. */
  readonly placeholder?: string;
  readonly help: string;
}

/** The text given for a flag, and its source: `--config` or `IPMASQ_CONFIG`. */
export interface FlagValue {
  readonly text: string;
  readonly by: string;
}

/** Flags by name, in the form of `v.object`. */
export type FlagTable = Readonly<Record<string, v.GenericSchema<string | undefined, unknown>>>;

/** The flags of the agent. Every command accepts them, and each has an environment variable `IPMASQ_…`. */
export const AGENT_FLAGS = {
  config: path("config", "config file or directory", "/etc/config/ip-masq-agent"),
  backend: choice(["auto", "nftables", "iptables"], "backend that writes the rules", "auto"),
  "enable-ipv6": toggle("masquerade IPv6 too; overrides the config"),
  "masq-chain": chain("NAME", "name of the chain with the rules", "IP-MASQ-AGENT"),
  "nomasq-all-reserved-ranges": toggle(
    "without nonMasqueradeCIDRs, do not masquerade any reserved range",
    "false",
  ),
  "random-fully": toggle("choose source ports at random", "true"),
  "to-ports": ports("LIST", "source port ranges for TCP, UDP and SCTP, such as 1024-29999,32768-65535"),
  "resync-interval": interval("DURATION", "interval between full syncs; overrides the config"),
  listen: listen(
    "ADDR:PORT",
    "address for metrics, health and status page; empty disables HTTP",
    "127.0.0.1:9469",
  ),
  "metrics-cidr-limit": integer("NUMBER", "maximum number of CIDRs with their own metrics", 1000),
  "log-level": choice(["error", "warn", "info", "debug"], "minimum log level", "info"),
  "log-format": choice(["text", "json"], "format of log lines", "text"),
  "cleanup-on-exit": toggle("remove the rules on exit", "false"),
  "runtime-dir": path(
    "runtime-dir",
    "directory for the node lock and the agent's socket, root only",
    "/run/ipmasq",
  ),
};

/**
 * The flags of klog 2.140 (used by ip-masq-agent 2.13), of klog's main branch, and of Kubernetes' component-base 0.36,
 * so that manifests that set them work unchanged.
 */
export const KLOG_FLAGS = {
  v: verbosity("LEVEL", "klog verbosity; 4 and higher set --log-level=debug"),
  logtostderr: ignored(),
  alsologtostderr: ignored(),
  stderrthreshold: ignored("LEVEL"),
  vmodule: ignored("LIST"),
  "log-backtrace-at": ignored("LIST"),
  "log-dir": ignored("DIR"),
  "log-file": ignored("FILE"),
  "log-file-max-size": ignored("MB"),
  "add-dir-header": ignored(),
  "skip-headers": ignored(),
  "skip-log-headers": ignored(),
  "one-output": ignored(),
  "legacy-stderr-threshold-behavior": ignored(),
  alsologtostderrthreshold: ignored("LEVEL"),
  "log-flush-frequency": ignored("DURATION"),
  "logging-format": ignored("FORMAT"),
  "log-json-info-buffer-size": ignored("SIZE"),
  "log-json-split-stream": ignored(),
  "log-text-info-buffer-size": ignored("SIZE"),
  "log-text-split-stream": ignored(),
};

/** The given flags of klog that have no effect. */
export function ignoredKlogFlags(given: Iterable<string>): string[] {
  return [...given].filter(name => name !== "v" && name in KLOG_FLAGS);
}

export function noteOf(schema: v.GenericSchema<string | undefined, unknown>): FlagNote {
  const { placeholder, help } = v.getMetadata(schema);
  return {
    help: typeof help === "string" ? help : "",
    ...(typeof placeholder === "string" ? { placeholder } : {}),
  };
}

/** The environment variable of a flag: `IPMASQ_ENABLE_IPV6` for `enable-ipv6`. */
export function variableOf(flag: string): string {
  return `IPMASQ_${flag.replaceAll("-", "_").toUpperCase()}`;
}

type Flag<T> = v.GenericSchema<string | undefined, T>;

/** A switch, which means true if it has no value. Accepts the same values as Go's strconv.ParseBool. */
export function toggle(help: string, defaultText: "true" | "false"): Flag<boolean>;
/** Without a default, the value is undefined if the flag is not given. */
export function toggle(help: string): Flag<boolean | undefined>;
export function toggle(help: string, defaultText?: "true" | "false"): Flag<boolean | undefined> {
  const given = v.pipe(
    v.string(),
    parsedBy((it): boolean | ParseFailure => {
      if (/^(1|t|true)$/i.test(it)) return true;
      if (/^(0|f|false)$/i.test(it)) return false;
      return { what: `"${it}" is not a boolean`, remedy: "write true or false" };
    }),
  );
  return v.pipe(v.optional(given, defaultText), v.metadata({ help }));
}

export function choice<const Value extends string>(
  values: readonly Value[],
  help: string,
  defaultText: NoInfer<Value>,
): Flag<Value>;
/** Without a default, the value is undefined if the flag is not given. */
export function choice<const Value extends string>(
  values: readonly Value[],
  help: string,
): Flag<Value | undefined>;
export function choice<const Value extends string>(
  values: readonly Value[],
  help: string,
  defaultText?: Value,
): Flag<Value | undefined> {
  const given = v.picklist(
    values,
    ({ received }) => `${received} is not a valid value; write ${anyOf(values)}`,
  );
  return v.pipe(v.optional(given, defaultText), v.metadata({ placeholder: values.join("|"), help }));
}

/** The values as text: `a, b or c`. */
export function anyOf(values: readonly string[]): string {
  return values.join(", ").replace(/, (?=[^,]*$)/, " or ");
}

export function text(placeholder: string, help: string, defaultText: string) {
  return v.pipe(v.optional(v.string(), defaultText), v.metadata({ placeholder, help }));
}

function path(flag: string, help: string, defaultText: string) {
  const given = v.pipe(
    v.string(),
    parsedBy<string>(it => (it === "" ? { what: "the path is empty", remedy: `write --${flag}=PATH` } : it)),
  );
  return v.pipe(v.optional(given, defaultText), v.metadata({ placeholder: "PATH", help }));
}

function ports(placeholder: string, help: string) {
  const given = v.pipe(
    v.string(),
    parsedBy(it => (it === "" ? NO_PORTS : parsePortRanges(it))),
    v.transform(ranges => (ranges.length > 0 ? ranges : undefined)),
  );
  return v.pipe(v.optional(given), v.metadata({ placeholder, help }));
}

/** ip-masq-agent's default is the empty text. */
const NO_PORTS: readonly PortRange[] = [];

/** A Go duration, or seconds without a unit as in AKS' ip-masq-agent-v2. */
function interval(placeholder: string, help: string) {
  const given = v.pipe(
    v.string(),
    parsedBy(it => parseResyncInterval(inSeconds(it))),
  );
  return v.pipe(v.optional(given), v.metadata({ placeholder, help }));
}

function inSeconds(interval: string): string {
  return /^\d+$/.test(interval) ? `${interval}s` : interval;
}

/** The warning for a `--resync-interval` below the minimum. */
export function raisedFlag(given: FlagValue | undefined): string[] {
  const raised = given && raisedInterval(inSeconds(given.text));
  return raised ? [`${given.by}: ${withRemedy(raised)}`] : [];
}

function listen(placeholder: string, help: string, defaultText: string) {
  const given = v.pipe(v.string(), parsedBy(parseListen));
  return v.pipe(v.optional(given, defaultText), v.metadata({ placeholder, help }));
}

function integer(placeholder: string, help: string, defaultText: number) {
  const given = v.pipe(
    v.string(),
    v.regex(
      /^\d{1,9}$/,
      ({ received }) => `${received} is not a whole number; write one such as ${defaultText}`,
    ),
    v.transform(Number),
  );
  return v.pipe(v.optional(given, `${defaultText}`), v.metadata({ placeholder, help }));
}

function chain(placeholder: string, help: string, defaultText: string) {
  const given = v.pipe(v.string(), parsedBy(parseChainName));
  return v.pipe(v.optional(given, defaultText), v.metadata({ placeholder, help }));
}

function verbosity(placeholder: string, help: string) {
  const given = v.pipe(
    v.string(),
    // An int32 in Go; klog treats a negative level as 0.
    v.regex(/^[-+]?\d{1,10}$/, ({ received }) => `${received} is not a level; write a whole number`),
    v.transform(Number),
  );
  return v.pipe(v.optional(given), v.metadata({ placeholder, help }));
}

function ignored(placeholder?: string) {
  return v.pipe(
    v.optional(v.string()),
    v.metadata({ help: "ignored; accepted for klog compatibility", ...(placeholder ? { placeholder } : {}) }),
  );
}
