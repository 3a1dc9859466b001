import type { Ruleset } from "../../../src/backends/iptables/ruleset.ts";
import type { Address } from "../../../src/net/cidr.ts";
import { Cidr } from "../../../src/net/cidr.ts";
import { optionOf, type Rule, targetOf } from "../../../src/xtables/rule.ts";
import { isBroadcast, type Outcome, type Packet } from "../../packet.ts";

/**
 * The effect of our rules on the source of a packet, as iptables(8) and iptables-extensions(8) define each option.
 * Random matches are assumed to match.
 */
export function outcome(rulesets: readonly Ruleset[], packet: Packet): Outcome {
  const rules = rulesets.find(({ family }) => family === packet.destination.family);
  if (!rules) return "untouched";
  return outcomeOf(rules, [...(rules.first ? [rules.first] : []), rules.jump], packet);
}

function outcomeOf(ruleset: Ruleset, rules: readonly Rule[], packet: Packet): Outcome {
  for (const rule of rules) {
    if (!matches(rule, packet)) continue;
    const target = targetOf(rule);
    if (target === "MASQUERADE" || target === "SNAT") return "masquerade";
    if (target === "NETMAP") {
      if (!/^(0\.0\.0\.0|::)\/0$/.test(optionOf(rule, "--to") ?? "")) throw new Error("unknown translation");
      return "bound";
    }
    if (target === "RETURN") return "untouched";
    const chain = ruleset.chains.find(({ name }) => name === target);
    if (!chain) throw new Error(`there is no chain ${target}`);
    const inner = outcomeOf(ruleset, chain.rules, packet);
    if (inner !== "untouched" || rule.includes("-g")) return inner;
  }
  return "untouched";
}

function matches(rule: Rule, packet: Packet): boolean {
  const { protocol, source, destination, out } = packet;
  const known = [
    "-d",
    "-s",
    "-o",
    "-p",
    "-m",
    "--comment",
    "!",
    "--dst-type",
    "--dir",
    "--pol",
    "--mode",
    "--mark",
    "--probability",
    "-j",
    "-g",
    "--to-ports",
    "--to-source",
    "--to",
    "--random-fully",
  ];
  const options = rule.filter(word => /^(-|!$)/.test(word));
  const odd = options.find(word => !known.includes(word) && !isValue(rule, word));
  if (odd !== undefined) throw new Error(`what does ${odd} mean?`);
  if (optionOf(rule, "--pol") === "ipsec" && !packet.ipsec) return false;
  if (!hasMark(packet, optionOf(rule, "--mark"))) return false;
  if (!isOfType(packet, rule.includes("!"), optionOf(rule, "--dst-type"))) return false;
  const interfaces = optionOf(rule, "-o");
  const protocols = optionOf(rule, "-p");
  return (
    holds(optionOf(rule, "-d"), destination) &&
    holds(optionOf(rule, "-s"), source) &&
    (interfaces === undefined || isNamed(interfaces, out)) &&
    (protocols === undefined || protocols === protocol)
  );
}

function isOfType(packet: Packet, not: boolean, type: string | undefined): boolean {
  if (type === undefined || (type === "LOCAL" && not)) return true; // no packet here goes to the node itself
  if (type === "MULTICAST" && !not) return /^(22[4-9]|23\d)\.|^ff..:/.test(packet.destination.text);
  if (type === "BROADCAST" && !not) return isBroadcast(packet);
  throw new Error(`what does ${not} ${type} mean?`);
}

function hasMark({ mark = 0 }: Packet, text: string | undefined): boolean {
  if (text === undefined) return true;
  const [value = "", mask = "0xffffffff"] = text.split("/");
  return (BigInt(mark) & BigInt(mask)) === BigInt(value);
}

/** Interfaces may have names that look like options. */
function isValue(rule: Rule, word: string): boolean {
  return optionOf(rule, "-o") === word;
}

function isNamed(pattern: string, name: string): boolean {
  return pattern.endsWith("+") ? name.startsWith(pattern.slice(0, -1)) : name === pattern;
}

/** Compares leading bits, as the kernel does, instead of the first and the last address. */
function holds(text: string | undefined, { value }: Address): boolean {
  if (text === undefined) return true;
  const cidr = Cidr.parse(text);
  if (!(cidr instanceof Cidr)) throw new Error(cidr.what);
  const rest = BigInt((cidr.family === "ip" ? 32 : 128) - cidr.prefix);
  return BigInt(value) >> rest === BigInt(cidr.first) >> rest;
}
