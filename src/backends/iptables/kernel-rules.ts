import { Cidr } from "../../net/cidr.ts";
import type { Action, Condition, KernelRule } from "../rules.ts";
import { type Rule, ruleText } from "./rule.ts";

/** A rule of iptables as one that can be followed. */
export function kernelRule(chain: string, rule: Rule): KernelRule {
  const conditions: Condition[] = [];
  let action: Action = { does: "nothing" };
  const left = [...rule];
  let not = false;
  for (let word = left.shift(); word !== undefined; word = left.shift()) {
    if (word === "!") {
      not = true;
      continue;
    }
    if (WITHOUT_VALUE.has(word)) continue;
    const value = left.shift() ?? "";
    if (word === "-j" || word === "-g") action = actionOf(word, value);
    else if (!WITHOUT_EFFECT.has(word)) conditions.push(condition(word, value, not));
    not = false;
  }
  return { text: `-A ${chain} ${ruleText(rule)}`, conditions, action };
}

const WITHOUT_VALUE = new Set(["--random-fully", "--random", "--persistent"]);
const WITHOUT_EFFECT = new Set([
  ...["-m", "--dir", "--comment", "--to-ports", "--to-source", "--to", "--mode"],
  ...["--set-xmark", "--set-mark", "--or-mark", "--log-prefix", "--log-level", "--nflog-group"],
]);

function actionOf(option: "-j" | "-g", target: string): Action {
  if (option === "-g") return { does: "goto", to: target };
  if (target === "MASQUERADE") return { does: "masquerade" };
  if (target === "RETURN") return { does: "return" };
  if (target === "ACCEPT") return { does: "accept" };
  if (target === "SNAT" || target === "NETMAP") return { does: "snat" };
  if (IDLE.has(target)) return { does: "nothing" };
  return TERMINAL.has(target) ? { does: "unknown" } : { does: "jump", to: target };
}

/** Targets of extensions that end the way of a packet through table nat, and those behind which it goes on. */
const TERMINAL = new Set(["DNAT", "REDIRECT", "DROP", "QUEUE", "NFQUEUE"]);
const IDLE = new Set(["LOG", "NFLOG", "MARK", "CONNMARK", "TRACE", "CT"]);

const DESTINATION_TYPES = ["local", "broadcast", "multicast"] as const;

function condition(option: string, value: string, not: boolean): Condition {
  if (option === "-d" || option === "-s") {
    const cidr = Cidr.parse(value.includes("/") ? value : `${value}/${value.includes(":") ? 128 : 32}`);
    if (cidr instanceof Cidr) return { on: option === "-d" ? "destination" : "source", not, cidrs: [cidr] };
  }
  if (option === "-o") return { on: "out", not, names: [value.replace(/\+$/, "*")] };
  if (option === "-p") return { on: "protocol", not, names: [value] };
  if (option === "--dst-type") {
    const on = DESTINATION_TYPES.find(it => it.toUpperCase() === value);
    if (on) return { on, not };
  }
  if (option === "--pol" && value === "ipsec") return { on: "ipsec", not };
  if (option === "--probability") return { on: "chance" };
  return { on: "unknown" };
}
