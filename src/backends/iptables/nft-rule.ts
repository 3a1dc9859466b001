import { Cidr, type Family, withLength } from "../../net/cidr.ts";
import { markOf } from "../../net/mark.ts";
import { UNDER_IPSEC } from "../../nft/ipsec.ts";
import type { NftObject, Statement } from "../../nft/json.ts";
import { bindSource, withMark } from "../../nft/statements.ts";
import type { Rule } from "../../nft/table.ts";
import { type Rule as Arguments, optionOf } from "../../xtables/rule.ts";
import { isExemption, isOurComment } from "../ownership.ts";
import type { CountedRule } from "./counters.ts";

/** Converts one of our rules to nft. Throws TypeError for an option that `ruleset` does not use. */
export function nftRule(family: Family, args: Arguments): Rule {
  let comment = "";
  const expr: Statement[] = [];
  const left = args.filter(word => word !== "-m");
  let op: Op = "==";
  for (let option = left.shift(); option !== undefined; option = left.shift()) {
    if (MODULES.has(option) || option === "--random-fully") continue;
    if (option === "!") {
      op = "!=";
      continue;
    }
    const value = left.shift() ?? "";
    if (option === "--comment") comment = value;
    else if (option === "-j" && value === "MASQUERADE") {
      expr.push(COUNTER, masquerade(optionOf(args, "--to-ports"), args.includes("--random-fully")));
    } else if (option === "-j" && value === "SNAT") {
      expr.push(COUNTER, snat(optionOf(args, "--to-source"), args.includes("--random-fully")));
    } else if (option === "-j" && value === "RETURN") {
      // Rules that keep connections have counters only if they have a destination.
      expr.push(...(args.includes("-d") ? [COUNTER] : []), { return: null });
    } else if (option === "-j" && value === "NETMAP") {
      expr.push(...(args.includes("-d") ? [COUNTER] : []), bindSource(family));
    } else expr.push(...statements(family, option, value, op));
    op = "==";
  }
  return { comment, expr };
}

const COUNTER: Statement = { counter: null };

type Op = "==" | "!=";

const MODULES = new Set(["comment", "addrtype", "mark", "policy", "statistic"]);

function statements(family: Family, option: string, value: string, op: Op): Statement[] {
  switch (option) {
    case "-s":
    case "-d":
      return [address(family, option === "-s" ? "saddr" : "daddr", value)];
    case "-o":
      return [match("==", { meta: { key: "oifname" } }, value.replace(/\+$/, "*"))];
    case "-p":
      return [match("==", { meta: { key: "l4proto" } }, value)];
    case "--dst-type":
      return [match(op, { fib: { result: "type", flags: ["daddr"] } }, value.toLowerCase())];
    case "--pol":
      return [UNDER_IPSEC];
    case "--mark":
      return [withMark(markOf(value))];
    case "--dir":
    case "--mode":
    case "--to-ports":
    case "--to-source":
    case "--to":
      return [];
    case "--probability":
      return [
        match("<", { numgen: { mode: "random", mod: ALL, offset: 0 } }, Math.round(Number(value) * ALL)),
      ];
    case "-g":
      return [COUNTER, { goto: { target: value } }];
    case "-j":
      return [{ jump: { target: value } }];
    default:
      throw new TypeError(`our rules do not use the option ${option}`);
  }
}

/** nft lists a modulus of 2^31 as a negative number. */
const ALL = 2 ** 30;

type Match = Extract<Statement, { match: unknown }>["match"];

function match(op: string, left: Match["left"], right: Match["right"]): Statement {
  return { match: { op, left, right } };
}

/** A match of a CIDR. nft lists a single address without its length. */
function address(family: Family, field: string, cidr: string): Statement {
  const [addr = "", length] = cidr.split("/");
  const whole = Number(length) === (family === "ip" ? 32 : 128);
  return match(
    "==",
    { payload: { protocol: family, field } },
    whole ? addr : { prefix: { addr, len: Number(length) } },
  );
}

function masquerade(ports: string | undefined, randomFully: boolean): Statement {
  const options = portsAndFlags(ports, randomFully);
  return { masquerade: Object.keys(options).length > 0 ? options : null };
}

/** @param to an address, perhaps with ports: `192.0.2.1:1024-2047`, or `[2001:db8::1]:80` */
function snat(to = "", randomFully: boolean): Statement {
  const [, v6, v4, ports] = /^(?:\[(.*)\]|([\d.]+)):([\d-]+)$/.exec(to) ?? [];
  const addr = v6 ?? v4 ?? to;
  return { snat: { addr, ...portsAndFlags(ports, randomFully) } };
}

function portsAndFlags(
  ports: string | undefined,
  randomFully: boolean,
): { readonly port?: number | { range: [number, number] }; readonly flags?: string[] } {
  const [first, last] = ports?.split("-").map(Number) ?? [];
  return {
    ...(first !== undefined && { port: last === undefined ? first : { range: [first, last] } }),
    ...(randomFully && { flags: ["fully-random"] }),
  };
}

/** A rule in the kernel. */
export type ActualRule = Rule & { readonly chain: string; readonly handle: number };

/** A rule from a listing, with addresses as we write them: nft lists `::100:0` as `::1.0.0.0`. */
export function actualRule({
  chain,
  comment,
  expr,
  handle = 0,
}: Extract<NftObject, { rule: unknown }>["rule"]): ActualRule {
  return { chain, expr: expr.map(normal), handle, ...(comment ? { comment } : {}) };
}

function normal(statement: Statement): Statement {
  const matched = addressOf(statement);
  return matched ? address(matched.cidr.family, matched.field, matched.cidr.text) : statement;
}

/** The CIDR of destinations that a rule matches, if any. */
export function destinationOf({ expr }: Pick<Rule, "expr">): Cidr | undefined {
  return expr.map(addressOf).find(it => it?.field === "daddr")?.cidr;
}

/** The CIDR that a statement matches, if any. */
function addressOf(statement: Statement): { field: string; cidr: Cidr } | undefined {
  if (!("match" in statement) || statement.match.op !== "==") return undefined;
  const { left, right } = statement.match;
  if (!("payload" in left)) return undefined;
  const single = typeof right === "string" ? withLength(right) : "";
  const prefix = typeof right === "object" && "prefix" in right ? right.prefix : undefined;
  const cidr = Cidr.parse(prefix ? `${prefix.addr}/${prefix.len}` : single);
  return cidr instanceof Cidr ? { field: left.payload.field, cidr } : undefined;
}

/** The chain that a rule leads to. */
export function targetOf({ expr }: Pick<Rule, "expr">): string | undefined {
  for (const it of expr) {
    if ("jump" in it) return it.jump.target;
    if ("goto" in it) return it.goto.target;
  }
  return undefined;
}

/** The counts of one of our rules. A rule that was not read from the kernel has zero counts. */
export function countedRule(chain: string, rule: Rule): CountedRule[] {
  const { expr, comment, handle } = rule;
  const [count] = expr.flatMap(it =>
    "counter" in it && typeof it.counter !== "string" ? [it.counter ?? { packets: 0, bytes: 0 }] : [],
  );
  if (!count || !isOurComment(comment) || isExemption(comment)) return [];
  const target = expr.some(it => "return" in it)
    ? "RETURN"
    : expr.some(it => "snat" in it && typeof it.snat.addr !== "string")
      ? "NETMAP"
      : expr.some(it => "masquerade" in it || "snat" in it)
        ? "MASQUERADE"
        : targetOf(rule);
  const number = handle === undefined ? {} : { handle };
  return [{ cidr: destinationOf(rule), chain, target, ...count, ...number }];
}
