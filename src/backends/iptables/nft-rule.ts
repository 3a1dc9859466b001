import type { Family } from "../../net/cidr.ts";
import { UNDER_IPSEC } from "../../nft/ipsec.ts";
import type { Statement } from "../../nft/json.ts";
import type { Rule } from "../../nft/table.ts";
import { optionOf, type Rule as Words } from "../../xtables/rule.ts";

/** A rule of ours in nft's terms. Knows the options that `ruleset` uses, and throws TypeError for others. */
export function nftRule(family: Family, words: Words): Rule {
  let comment = "";
  const expr: Statement[] = [];
  const left = words.filter(word => word !== "-m");
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
      expr.push(COUNTER, masquerade(optionOf(words, "--to-ports"), words.includes("--random-fully")));
    } else if (option === "-j" && value === "RETURN") {
      // Of rules that keep, only those with a destination count.
      expr.push(...(words.includes("-d") ? [COUNTER] : []), { return: null });
    } else expr.push(...statements(family, option, value, op));
    op = "==";
  }
  return { comment, expr };
}

const COUNTER: Statement = { counter: null };

type Op = "==" | "!=";

const MODULES = new Set(["comment", "addrtype", "policy", "statistic"]);

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
    case "--dir":
    case "--mode":
    case "--to-ports":
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
      throw new TypeError(`no rule of ours has the option ${option}`);
  }
}

/** nft lists a modulus of 2^31 as a negative number. */
const ALL = 2 ** 30;

type Match = Extract<Statement, { match: unknown }>["match"];

function match(op: string, left: Match["left"], right: Match["right"]): Statement {
  return { match: { op, left, right } };
}

/** A match of a block of addresses; nft lists one that is a single address without its length. */
export function address(family: Family, field: string, cidr: string): Statement {
  const [addr = "", length] = cidr.split("/");
  const whole = Number(length) === (family === "ip" ? 32 : 128);
  return match(
    "==",
    { payload: { protocol: family, field } },
    whole ? addr : { prefix: { addr, len: Number(length) } },
  );
}

function masquerade(ports: string | undefined, randomFully: boolean): Statement {
  const flags = randomFully ? { flags: ["fully-random"] } : {};
  const [first, last] = ports?.split("-").map(Number) ?? [];
  if (first === undefined) return { masquerade: randomFully ? flags : null };
  return { masquerade: { port: last === undefined ? first : { range: [first, last] }, ...flags } };
}
