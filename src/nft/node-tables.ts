import { deadlineFor, run } from "../system/program.ts";
import type { TableFamily } from "./json.ts";

/** The version of nft and the tables of the node, as one run of nft shows them. */
export class NodeTables {
  /** As in `ip nat`. */
  readonly #names: ReadonlySet<string>;

  constructor(
    readonly version: string,
    names: readonly string[],
  ) {
    this.#names = new Set(names);
  }

  has(family: TableFamily, table: string): boolean {
    return this.#names.has(`${family} ${table}`);
  }

  /** Whether tables probably have sets. Those of iptables have none, and share these names with few others. */
  get mayHaveSets(): boolean {
    return [...this.#names].some(it => !IPTABLES.test(it));
  }
}

const IPTABLES = /^ip6? (raw|mangle|nat|filter|security)$/;

/** Lists all tables of the node, of every family. Returns undefined if nft fails, and throws nothing. */
export async function listTables(argv: readonly string[] = ["nft"]): Promise<NodeTables | undefined> {
  try {
    const { exitCode, stdout, stderr } = await run([...argv, "-j", "list", "tables"], {
      deadline: deadlineFor(),
    });
    // nft 1.0.6 reads the flags of a table from invalid memory, which may end the text.
    const isComplete = exitCode === 0 && stderr === "" && /\]\}\s*$/.test(stdout);
    const version = /"version":\s*"([^"]+)"/.exec(stdout)?.[1];
    if (!isComplete || version === undefined) return undefined;
    return new NodeTables(
      version,
      Array.from(stdout.matchAll(TABLE), ([, family, name]) => `${family} ${name}`),
    );
  } catch {
    return undefined;
  }
}

const TABLE = /\{"family":\s*"(\w+)",\s*"name":\s*"([^"]*)"/g;
