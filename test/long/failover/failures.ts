import type { Lab } from "../../../lab/lab.ts";
import { type DebianTools, debianTools } from "../../debian/tools.ts";
import { CrashingNft } from "../../kernel/crashing-nft.ts";

/** The suite whose nft crashes on sets that a newer nft declared by `type`, and suites with a newer nft. */
export const OLD = "bookworm";
export const NEWER = ["trixie", "forky"];

/** A way to make nft crash, and work again, while an agent runs. */
export interface Failure {
  readonly name: string;
  /** The writer to which the agent moves. */
  readonly fallback: "iptables-nft" | "iptables-legacy";
  /** The command that runs the agent with this nft; the agent's arguments follow. */
  readonly environment: readonly string[];
  /** Makes nft crash from now on. */
  begin(): Promise<unknown>;
  /** Makes nft crash at the moment in which another program deletes the agent's table. */
  beginAndFlush(): Promise<unknown>;
  /** Makes nft work again. */
  end(): Promise<unknown>;
}

const TABLE = "ip ip-masq-agent";

/** An nft that crashes except on `list chains`. */
export async function wrapped(lab: Lab, fallback: Failure["fallback"]): Promise<Failure> {
  const nft = await CrashingNft.create();
  return {
    name: "a wrapper that crashes except on `list chains`",
    fallback,
    environment: nft.environment,
    begin: () => nft.become("crash"),
    beginAndFlush: () =>
      Promise.all([nft.become("crash"), lab.node.output(["nft", "delete", "table", ...TABLE.split(" ")])]),
    end: () => nft.become("ok"),
  };
}

/** The nft of Debian 12, while a table has a set that a newer nft declared by `type`. */
export async function besideNewer(lab: Lab, suite: string): Promise<Failure> {
  const [old, newer] = await Promise.all([toolsOf(OLD), toolsOf(suite)]);
  const write = (...lines: string[]) =>
    lab.node.output([...newer.nft, "-f", "-"], { input: `${lines.join("\n")}\n` });
  const set = ["add table ip other", "add set ip other s { type ipv4_addr; }"];
  return {
    name: `nft ${old.version} beside a set of nft ${newer.version}`,
    fallback: "iptables-nft",
    environment: ["env", `PATH=${old.wrapper}:${process.env.PATH}`],
    begin: () => write(...set),
    beginAndFlush: () => write(`delete table ${TABLE}`, ...set),
    end: () => write("delete table ip other"),
  };
}

async function toolsOf(suite: string): Promise<DebianTools> {
  const tools = await debianTools(suite);
  if ("missing" in tools) throw new Error(tools.missing);
  return tools;
}
