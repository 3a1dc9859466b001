import { Cidr, canonicalAddress, parseAddress, withLength } from "../net/cidr.ts";
import { parsePortRanges } from "../net/ports.ts";
import { type Action, type Condition, DESTINATION_TYPES, type TraceableRule } from "../net/trace.ts";
import { optionOf, type Rule, ruleText } from "./rule.ts";

/** A rule of iptables to trace packets through. */
export function traceableRule(chain: string, rule: Rule): TraceableRule {
  const conditions: Condition[] = [];
  let action: Action = { does: "nothing" };
  for (const { option, values, not } of optionsOf(rule)) {
    const value = values.join(" ");
    if (option === "-j" || option === "-g") action = actionOf(option, value);
    else if (option === "--to-source") action = { does: "snat", ...single(value) };
    else if (option === "--to" && EVERYTHING.has(value)) action = { does: "bind" };
    else if (action.does === "nothing" && (!WITHOUT_EFFECT.has(option) || HEADERS.has(value))) {
      conditions.push(condition(option, value, not)); // options after the target belong to the target
    }
  }
  const marks = MARKING.has(optionOf(rule, "-j") ?? "");
  return { text: `-A ${chain} ${ruleText(rule)}`, conditions, action, ...(marks && { marks }) };
}

/** The address of `--to-source`, which may have ports; nothing for a range of addresses. */
function single(value: string): { readonly address?: string } {
  const [, inBrackets, bare = value] = /^(?:\[(.*)\](?::[\d-]+)?|([\d.]+):[\d-]+)$/.exec(value) ?? [];
  const address = canonicalAddress(inBrackets ?? bare);
  return "what" in parseAddress(address) ? {} : { address };
}

interface Option {
  readonly option: string;
  readonly values: readonly string[];
  readonly not: boolean;
}

/** The options of a rule. Some options have no value, some have two (`--tcp-flags SYN,ACK SYN`). */
function optionsOf(rule: Rule): Option[] {
  const options: { option: string; values: string[]; not: boolean }[] = [];
  let not = false;
  for (const word of rule) {
    const last = options.at(-1);
    const isText = last?.values.length === 0 && TEXTS.has(last.option);
    if (word === "!" && !isText) not = true;
    else if (isText || !/^--?[a-z]/i.test(word)) last?.values.push(word);
    else {
      options.push({ option: word, values: [], not });
      not = false;
    }
  }
  return options;
}

/** Options whose value may be any text. */
const TEXTS = new Set(["--comment", "--log-prefix", "--nflog-prefix"]);

/** Values of `NETMAP --to` that leave every address unchanged. */
const EVERYTHING = new Set(["0.0.0.0/0", "::/0"]);

/** Options that only introduce others, and options of targets that do not decide. */
const WITHOUT_EFFECT = new Set([
  ...["-m", "--comment", "--mode", "--dir", "--set-xmark", "--set-mark", "--or-mark"],
  ...["--log-prefix", "--log-level", "--nflog-group"],
]);

/** Modules that match packets by a header even without options. */
const HEADERS = new Set(["ah", "dst", "esp", "eui64", "frag", "hbh", "ipv6header", "mh", "rt", "srh"]);

function actionOf(option: "-j" | "-g", target: string): Action {
  if (option === "-g") return { does: "goto", to: target };
  if (target === "MASQUERADE") return { does: "masquerade" };
  if (target === "RETURN") return { does: "return" };
  if (target === "ACCEPT") return { does: "accept" };
  if (target === "SNAT" || target === "NETMAP") return { does: "snat" };
  if (IDLE.has(target)) return { does: "nothing" };
  return TERMINAL.has(target) ? { does: "unknown" } : { does: "jump", to: target };
}

/**
 * Targets of extensions after which a packet leaves table nat, targets that change its mark, and targets after which it
 * continues.
 */
const TERMINAL = new Set(["DNAT", "REDIRECT", "DROP", "QUEUE", "NFQUEUE"]);
const MARKING = new Set(["MARK", "CONNMARK"]);
const IDLE = new Set(["LOG", "NFLOG", "MARK", "CONNMARK", "TRACE", "CT"]);

function condition(option: string, value: string, not: boolean): Condition {
  if (option === "-d" || option === "-s") {
    const cidr = Cidr.parse(withLength(value));
    if (cidr instanceof Cidr) return { on: option === "-d" ? "destination" : "source", not, cidrs: [cidr] };
  }
  if (option === "-o") return { on: "out", not, names: [value.replace(/\+$/, "*")] };
  if (option === "-p") return { on: "protocol", not, names: [value] };
  if (option === "--dport" || option === "--dports") {
    const ports = parsePortRanges(value.replaceAll(":", "-"));
    if (!("what" in ports)) return { on: "port", not, ports };
  }
  if (option === "--dst-type") {
    const on = DESTINATION_TYPES.find(it => it.toUpperCase() === value);
    if (on) return { on, not };
  }
  if (option === "--pol" && value === "ipsec") return { on: "ipsec", not };
  if (option === "--mark") {
    const [bits = Number.NaN, mask = 0xffffffff] = value.split("/").map(Number);
    if (Number.isInteger(bits) && Number.isInteger(mask)) return { on: "mark", not, value: bits, mask };
  }
  if (option === "--probability") return { on: "chance" };
  return { on: "unknown" };
}
