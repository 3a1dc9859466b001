import type { Ruleset } from "../../../src/backends/iptables/ruleset.ts";
import type { Address } from "../../../src/net/cidr.ts";
import { Cidr } from "../../../src/net/cidr.ts";
import type { Verdict } from "../../../src/net/verdict.ts";
import { optionOf, type Rule, targetOf } from "../../../src/xtables/rule.ts";
import { isBroadcast, type Packet } from "../../packet.ts";

/**
 * The verdict of our rules on a packet, as iptables(8) and iptables-extensions(8) define each option. Random matches are
 * assumed to match.
 */
export function judge(rulesets: readonly Ruleset[], packet: Packet): Verdict {
  const rules = rulesets.find(({ family }) => family === packet.destination.family);
  return rules && masqueradesBy(rules, [rules.jump], packet) ? "masquerade" : "keep";
}

function masqueradesBy(ruleset: Ruleset, rules: readonly Rule[], packet: Packet): boolean {
  for (const rule of rules) {
    if (!matches(rule, packet)) continue;
    const target = targetOf(rule);
    if (target === "MASQUERADE" || target === "SNAT") return true;
    if (target === "RETURN") return false;
    const chain = ruleset.chains.find(({ name }) => name === target);
    if (!chain) throw new Error(`there is no chain ${target}`);
    const masquerades = masqueradesBy(ruleset, chain.rules, packet);
    if (masquerades || rule.includes("-g")) return masquerades;
  }
  return false;
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
