/**
 * Every flag, once: parser, environment, help and documentation follow from these tables. A flag is a
 * valibot schema from the text given on the command line to the value meant, with its help as metadata.
 */
import * as v from "valibot";
import { parseChainName } from "../backends/ownership.ts";
import { parseResyncInterval, raisedInterval } from "../config/resync-interval.ts";
import { parseListen } from "../net/listen.ts";
import { type ParseFailure, parsedBy } from "../net/parse-failure.ts";
import { type PortRange, parsePortRanges } from "../net/ports.ts";

/** What help says of a flag, and how it is read. */
export interface FlagNote {
  /** What stands for its value in help; none for a switch, which may stand alone. */
  readonly placeholder?: string;
  readonly help: string;
}

/** Flags by their names, as `v.object` takes them. */
export type FlagTable = Readonly<Record<string, v.GenericSchema<string | undefined, unknown>>>;

/** The agent's flags, which every command takes, and which IPMASQ_… environment variables set too. */
export const AGENT_FLAGS = {
  config: path("config", "config file, or a directory of them", "/etc/config/ip-masq-agent"),
  backend: choice(["auto", "nftables", "iptables"], "what the rules are written with", "auto"),
  "enable-ipv6": toggle("masquerade IPv6 too; overrides the config"),
  "masq-chain": chain("NAME", "chain that holds the verdicts", "IP-MASQ-AGENT"),
  "nomasq-all-reserved-ranges": toggle(
    "without nonMasqueradeCIDRs in the config: masquerade none of the reserved ranges",
    "false",
  ),
  "random-fully": toggle("let the kernel pick source ports at random", "true"),
  "to-ports": ports("LIST", "source ports for tcp, udp and sctp, as in 1024-29999,32768-65535"),
  "resync-interval": interval("DURATION", "interval between full syncs; overrides the config"),
  listen: listen(
    "ADDR:PORT",
    "where to serve metrics, health and the status page; empty: nowhere",
    "127.0.0.1:9469",
  ),
  "metrics-cidr-limit": whole("NUMBER", "most CIDRs with metrics of their own", 1000),
  "log-level": choice(["error", "warn", "info", "debug"], "minimum log level", "info"),
  "log-format": choice(["text", "json"], "format of log lines", "text"),
  "cleanup-on-exit": toggle("remove the rules when the agent ends", "false"),
  "runtime-dir": path(
    "runtime-dir",
    "directory of the node lock and its socket, for root only",
    "/run/ipmasq",
  ),
};

/**
 * The flags of klog and of Kubernetes' component-base, so that a manifest that sets them works as it is: those of
 * klog 2.140, which ip-masq-agent 2.13 has, of klog's main branch, and of component-base 0.36.
 */
export const KLOG_FLAGS = {
  v: verbosity("LEVEL", "klog's level: 4 and above is --log-level=debug"),
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

/** Flags of klog that were given and do nothing. */
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

/** Where the environment has the flag: `--enable-ipv6` is `IPMASQ_ENABLE_IPV6`. */
export function variableOf(flag: string): string {
  return `IPMASQ_${flag.replaceAll("-", "_").toUpperCase()}`;
}

type Toggle<T> = v.GenericSchema<string | undefined, T>;

/** A switch: alone it says true. Takes what Go's strconv.ParseBool takes. */
export function toggle(help: string, otherwise: "true" | "false"): Toggle<boolean>;
/** Undefined if not given and without a default. */
export function toggle(help: string): Toggle<boolean | undefined>;
export function toggle(help: string, otherwise?: "true" | "false"): Toggle<boolean | undefined> {
  const given = v.pipe(
    v.string(),
    parsedBy((it): boolean | ParseFailure => {
      if (/^(1|t|true)$/i.test(it)) return true;
      if (/^(0|f|false)$/i.test(it)) return false;
      return { what: `"${it}" is neither true nor false`, remedy: "write true or false" };
    }),
  );
  return v.pipe(v.optional(given, otherwise), v.metadata({ help }));
}

export function choice<const Values extends readonly string[]>(
  values: Values,
  help: string,
  otherwise: Values[number],
) {
  const given = v.picklist(
    values,
    ({ received }) => `${received} is not one of its values; write ${anyOf(values)}`,
  );
  return v.pipe(v.optional(given, otherwise), v.metadata({ placeholder: values.join("|"), help }));
}

/** As in `a, b or c`. */
export function anyOf(values: readonly string[]): string {
  return values.join(", ").replace(/, (?=[^,]*$)/, " or ");
}

export function text(placeholder: string, help: string, otherwise: string) {
  return v.pipe(v.optional(v.string(), otherwise), v.metadata({ placeholder, help }));
}

function path(flag: string, help: string, otherwise: string) {
  const given = v.pipe(
    v.string(),
    parsedBy<string>(it => (it === "" ? { what: "the path is empty", remedy: `write --${flag}=PATH` } : it)),
  );
  return v.pipe(v.optional(given, otherwise), v.metadata({ placeholder: "PATH", help }));
}

function ports(placeholder: string, help: string) {
  const given = v.pipe(
    v.string(),
    parsedBy(it => (it === "" ? NO_PORTS : parsePortRanges(it))),
    v.transform(ranges => (ranges.length > 0 ? ranges : undefined)),
  );
  return v.pipe(v.optional(given), v.metadata({ placeholder, help }));
}

/** The meaning of ip-masq-agent's default, an empty text. */
const NO_PORTS: readonly PortRange[] = [];

/** A Go duration, or seconds without a unit, as AKS' ip-masq-agent-v2 takes them. */
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

/** The warning for a `--resync-interval` that is raised to the minimum. */
export function raisedFlag(given: { readonly text: string; readonly by: string } | undefined): string[] {
  const raised = given && raisedInterval(inSeconds(given.text));
  return raised ? [`${given.by}: ${raised.what}; ${raised.remedy}`] : [];
}

function listen(placeholder: string, help: string, otherwise: string) {
  const given = v.pipe(v.string(), parsedBy(parseListen));
  return v.pipe(v.optional(given, otherwise), v.metadata({ placeholder, help }));
}

function whole(placeholder: string, help: string, otherwise: number) {
  const given = v.pipe(
    v.string(),
    v.regex(
      /^\d{1,9}$/,
      ({ received }) => `${received} is not a whole number; write one, as in ${otherwise}`,
    ),
    v.transform(Number),
  );
  return v.pipe(v.optional(given, `${otherwise}`), v.metadata({ placeholder, help }));
}

function chain(placeholder: string, help: string, otherwise: string) {
  const given = v.pipe(v.string(), parsedBy(parseChainName));
  return v.pipe(v.optional(given, otherwise), v.metadata({ placeholder, help }));
}

function verbosity(placeholder: string, help: string) {
  const given = v.pipe(
    v.string(),
    // As Go reads an int32; a negative level means 0.
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
