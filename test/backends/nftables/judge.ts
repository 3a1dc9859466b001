import { type Address, Cidr, type Family } from "../../../src/net/cidr.ts";
import type { Statement } from "../../../src/nft/json.ts";
import type { AddressSet, Rule, Table } from "../../../src/nft/table.ts";
import { isBroadcast, type Outcome, type Packet } from "../../packet.ts";

/**
 * The effect of our NAT chains on the source of a packet, as nft(8) defines each statement. Random numbers are assumed
 * to be 0. The first chain that translates is the last one that the kernel asks.
 */
export function outcome(tables: readonly Table[], packet: Packet): Outcome {
  const table = tables.find(({ family }) => family === packet.destination.family);
  const based = table?.chains.filter(({ hook }) => hook?.type === "nat") ?? [];
  const ordered = based.toSorted((a, b) => (a.hook?.prio ?? 0) - (b.hook?.prio ?? 0));
  for (const { name } of ordered) {
    const found = table && outcomeOf(table, name, packet);
    if (found && found !== "untouched") return found;
  }
  return "untouched";
}

/** Whether our tables drop an untranslated packet that is not an answer. */
export function dropsLeak(tables: readonly Table[], packet: Packet): boolean {
  const table = tables.find(({ family }) => family === packet.destination.family);
  const filters = table?.chains.filter(({ hook }) => hook?.type === "filter") ?? [];
  return filters.some(({ rules }) =>
    rules.some(({ expr }, i) => {
      const before = rules.slice(0, i).map(it => it.expr);
      const verdict = (of: Rule["expr"]) => table && verdictOf(of, it => matches(table, it, packet));
      return before.every(it => verdict(it) === undefined) && "drop" in (verdict(expr) ?? {});
    }),
  );
}

/** The effect of a chain; if it leaves the packet untouched, the rules after a jump to the chain continue. */
function outcomeOf(table: Table, chain: string, packet: Packet): Outcome {
  const found = table.chains.find(({ name }) => name === chain);
  if (!found) throw new Error(`there is no chain ${chain}`);
  for (const { expr } of found.rules) {
    const verdict = verdictOf(expr, statement => matches(table, statement, packet));
    if (verdict === undefined) continue;
    if ("masquerade" in verdict) return "masquerade";
    if ("snat" in verdict) {
      const { addr } = verdict.snat;
      if (typeof addr === "string") return "masquerade";
      const { payload } = addr;
      if (payload.field !== "saddr" || payload.protocol !== table.family)
        throw new Error("unknown translation");
      return "bound";
    }
    if ("return" in verdict || "drop" in verdict) return "untouched";
    if ("goto" in verdict) return outcomeOf(table, verdict.goto.target, packet);
    const inner = outcomeOf(table, verdict.jump.target, packet);
    if (inner !== "untouched") return inner;
  }
  return "untouched";
}

type Match = Extract<Statement, { match: unknown }>["match"];
type VerdictStatement = Extract<
  Statement,
  | { masquerade: unknown }
  | { snat: unknown }
  | { return: null }
  | { drop: null }
  | { goto: unknown }
  | { jump: unknown }
>;

/** The verdict of a rule if all its matches hold. */
function verdictOf(expr: Rule["expr"], matched: (match: Match) => boolean): VerdictStatement | undefined {
  for (const statement of expr) {
    if ("unknown" in statement) throw new Error(`unknown statement ${statement.unknown}`);
    if ("counter" in statement) continue;
    if (!("match" in statement)) return statement;
    if (!matched(statement.match)) return undefined;
  }
  return undefined;
}

function matches({ family, sets }: Table, { op, left, right }: Match, packet: Packet): boolean {
  if ("numgen" in left && op === "<" && typeof right === "number") return right > 0;
  if ("fib" in left && right === "local") return op === "!="; // no packet here goes to the node itself
  if ("fib" in left && right === "unicast" && family === "ip") {
    const unicast = !isBroadcast(packet) && !inBlock(Cidr.literal("224.0.0.0/4"), packet.destination);
    return unicast === (op === "==");
  }
  if ("ct" in left && left.ct.key === "direction" && right === "reply") return op === "!=";
  if ("rt" in left && left.rt.key === "ipsec" && op === "==") return (packet.ipsec ?? false) === right;
  if ("payload" in left && op === "==" && typeof right === "object" && "prefix" in right) {
    const { addr, len } = right.prefix;
    return inBlock(Cidr.literal(`${addr}/${len}`), fieldOf(packet, left.payload, family));
  }
  if ("meta" in left && left.meta.key === "oifname" && typeof right === "string" && /^[!=]=$/.test(op))
    return isNamed(right, packet.out) === (op === "==");
  if ("&" in left && op === "==" && left["&"][0].meta.key === "mark" && typeof right === "number") {
    return (BigInt(packet.mark ?? 0) & BigInt(left["&"][1])) === BigInt(right);
  }
  if ("meta" in left && op === "==") {
    if (left.meta.key === "mark" && typeof right === "number") return (packet.mark ?? 0) === right;
    if (left.meta.key === "l4proto" && typeof right === "object" && "set" in right) {
      return right.set.includes(packet.protocol);
    }
  }
  if ("payload" in left && typeof right === "string" && right.startsWith("@")) {
    const set = sets.find(({ name }) => name === right.slice(1));
    if (set) return holds(set, fieldOf(packet, left.payload, family)) === (op === "==");
  }
  throw new Error(`unknown match ${JSON.stringify({ op, left, right })}`);
}

function fieldOf(
  { source, destination }: Packet,
  payload: { protocol: Family; field: string },
  family: Family,
) {
  const address = { saddr: source, daddr: destination }[payload.field];
  if (!address || payload.protocol !== family) throw new Error(`unknown payload ${JSON.stringify(payload)}`);
  return address;
}

function isNamed(pattern: string, name: string): boolean {
  return pattern.endsWith("*") ? name.startsWith(pattern.slice(0, -1)) : name === pattern;
}

/** Compares leading bits, as the kernel does, instead of the first and the last address. */
function inBlock(cidr: Cidr, { value }: Address): boolean {
  const rest = BigInt((cidr.family === "ip" ? 32 : 128) - cidr.prefix);
  return BigInt(value) >> rest === BigInt(cidr.first) >> rest;
}

function holds({ elements }: AddressSet, address: Address): boolean {
  return elements.some(({ value }) => {
    if (!(value instanceof Cidr)) throw new Error(`${value} is not a CIDR`);
    return inBlock(value, address);
  });
}
