/** The flags that all commands accept. Parser, environment variables and help are derived from these tables. */
import { BACKENDS } from "../backends/backends.ts";
import { parseChainName } from "../backends/ownership.ts";
import { parseResyncInterval, raisedInterval } from "../net/duration.ts";
import { parseListen } from "../net/listen.ts";
import type { ParseFailure } from "../net/parse-failure.ts";
import { type PortRange, parsePortRanges } from "../net/ports.ts";
import { withRemedy } from "../system/errors.ts";
import { choice, type FlagValue, flag, ignored, type Parse, toggle } from "./flag.ts";

/** The flags of the agent. Every command accepts them, and each has an environment variable `IPMASQ_…`. */
export const AGENT_FLAGS = {
  config: flag("PATH", "config file or directory", parsePath("config"), "/etc/config/ip-masq-agent"),
  backend: choice(["auto", ...BACKENDS.map(({ name }) => name)], "backend that writes the rules", "auto"),
  "enable-ipv6": toggle("masquerade IPv6 too; overrides the config"),
  "masq-chain": flag("NAME", "name of the chain with the rules", parseChainName, "IP-MASQ-AGENT"),
  "nomasq-all-reserved-ranges": toggle("keep all reserved ranges if nonMasqueradeCIDRs is not set", "false"),
  "random-fully": toggle("choose source ports at random", "true"),
  "to-ports": flag(
    "LIST",
    "source port ranges for TCP, UDP and SCTP, such as 1024-29999,32768-65535",
    parseToPorts,
  ),
  "resync-interval": flag("DURATION", "interval between full syncs; overrides the config", parseInterval),
  listen: flag(
    "ADDR:PORT",
    "address for metrics, health and status page; empty disables HTTP",
    parseListen,
    "127.0.0.1:9469",
  ),
  "metrics-cidr-limit": flag(
    "NUMBER",
    "maximum number of CIDRs with their own metrics",
    parseInteger,
    "1000",
  ),
  "log-level": choice(["error", "warn", "info", "debug"], "minimum log level", "info"),
  "log-format": choice(["text", "json"], "format of log lines", "text"),
  "node-name": flag("NAME", "name of the node on the status page; without it, the host name", parseNodeName),
  "cleanup-on-exit": toggle("remove the rules on exit", "false"),
  "runtime-dir": flag(
    "PATH",
    "directory for the node lock and the agent's socket, writable only by root",
    parsePath("runtime-dir"),
    "/run/ipmasq",
  ),
};

/** The flags that affect the policy. */
export const POLICY_FLAGS = [
  "enable-ipv6",
  "masq-chain",
  "nomasq-all-reserved-ranges",
  "random-fully",
  "to-ports",
] as const satisfies readonly (keyof typeof AGENT_FLAGS)[];

/**
 * The flags of klog 2.140 (used by ip-masq-agent 2.13), of klog's main branch, and of Kubernetes' component-base 0.36,
 * so that manifests that set them work unchanged.
 */
export const KLOG_FLAGS = {
  v: flag("LEVEL", "klog verbosity; 4 and higher set --log-level=debug", parseVerbosity),
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

/** Flags that replace a command. */
export const GENERAL_FLAGS = {
  help: toggle("print help", "false"),
  version: toggle("print the version", "false"),
};

/** One-letter forms. `-v` is klog's own name. */
export const SHORT_FLAGS: Readonly<Record<string, string>> = { h: "help", c: "config", o: "output" };

/** The letter of a flag. */
export function shortOf(name: string): string | undefined {
  return Object.keys(SHORT_FLAGS).find(letter => SHORT_FLAGS[letter] === name);
}

/** The flags of klog that have no effect. */
export const IGNORED_FLAGS: readonly string[] = Object.keys(KLOG_FLAGS).filter(name => name !== "v");

/** The environment variable of a flag: `IPMASQ_ENABLE_IPV6` for `enable-ipv6`. */
export function variableOf(flag: string): string {
  return `IPMASQ_${flag.replaceAll("-", "_").toUpperCase()}`;
}

function parsePath(flag: string): Parse<string> {
  return text => (text === "" ? { what: "the path is empty", remedy: `write --${flag}=PATH` } : text);
}

/** An empty text, such as that of an environment variable without a value, means the host name. */
function parseNodeName(text: string): string | ParseFailure {
  if (text.length <= MOST_NAME) return text;
  return { what: `the name has more than ${MOST_NAME} characters`, remedy: "write --node-name=NAME" };
}

/** The maximum length of a Kubernetes node's name (a DNS subdomain name, RFC 1123). */
const MOST_NAME = 253;

/** An empty text, ip-masq-agent's default, means any port. */
function parseToPorts(text: string): readonly PortRange[] | ParseFailure {
  return text === "" ? [] : parsePortRanges(text);
}

/** A Go duration, or seconds without a unit as in AKS' ip-masq-agent-v2. */
function parseInterval(text: string): number | ParseFailure {
  return parseResyncInterval(inSeconds(text));
}

function inSeconds(interval: string): string {
  return /^\d+$/.test(interval) ? `${interval}s` : interval;
}

/** The warning for a `--resync-interval` below the minimum. */
export function raisedFlag(given: FlagValue | undefined): string[] {
  const raised = given && raisedInterval(inSeconds(given.text));
  return raised ? [`${given.by}: ${withRemedy(raised)}`] : [];
}

function parseInteger(text: string): number | ParseFailure {
  if (/^\d{1,9}$/.test(text)) return Number(text);
  return { what: `"${text}" is not a whole number`, remedy: "write one such as 1000" };
}

/** An int32 in Go; klog treats a negative level as 0. */
function parseVerbosity(text: string): number | ParseFailure {
  if (/^[-+]?\d{1,10}$/.test(text)) return Number(text);
  return { what: `"${text}" is not a level`, remedy: "write a whole number" };
}
