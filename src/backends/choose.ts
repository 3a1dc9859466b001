import type { Family } from "../net/cidr.ts";
import type { NodeTables } from "../nft/node-tables.ts";
import type { Policy } from "../policy/policy.ts";
import { HOST, type Host } from "../system/host.ts";
import { ProgramError } from "../system/program.ts";
import type { Backend } from "./backend.ts";
import type { BackendKind, WriterChoice } from "./backend-kind.ts";
import { BACKENDS, type BackendName } from "./backends.ts";
import { MigratingBackend } from "./migrating-backend.ts";
import { translates } from "./removal.ts";

export interface ChooseOptions {
  readonly requested: "auto" | BackendName;
  /** The policy that `auto` asks the kernel to test. */
  readonly policy: Policy;
  readonly host?: Host;
  /**
   * Why exemptions by foreign rules need a backend that preserves them; undefined without such exemptions. `auto`
   * calls the function while it tests a backend. The function must not throw, and takes 2 s at most.
   */
  readonly exemption?: (families?: readonly Family[], tables?: Tables) => Promise<string | undefined>;
  /**
   * Whether `auto` takes the first installed backend at once, because the first sync tests it: its plans wait for
   * `exemption`, and if the sync fails, {@link Chosen.retest} chooses again. A test takes 20 ms longer than the write.
   */
  readonly untested?: boolean;
  /** The tables of the node now, if they are known. Spares `exemption` some programs. */
  readonly tables?: Tables;
}

type Tables = Promise<NodeTables | undefined> | undefined;

/** The chosen backend, and why it was chosen. */
export interface Chosen {
  readonly backend: MigratingBackend;
  readonly reason: string;
  /** The backend that would be chosen if its program worked, and how its program fails. */
  readonly preferred?: MigratingBackend;
  readonly failure?: string;
  /** All backends that `--backend` allows, preferred ones first. */
  readonly alternatives: readonly MigratingBackend[];
  /**
   * The backend whose table runs after table `nat`. While it has rules, they also decide about connections that
   * another backend keeps.
   */
  readonly ownTable: Backend | undefined;
  /** Chooses again, with tests; undefined if the backend was tested. Throws ProgramError if no backend is available. */
  readonly retest?: () => Promise<Chosen>;
}

/**
 * Chooses the backend. `--backend=auto` takes the first backend that is installed, that the kernel accepts, and that
 * preserves the exemptions of foreign rules. The last backend is not tested, because its syncs report failures.
 *
 * Throws ProgramError if no backend is available.
 */
export async function chooseBackend(options: ChooseOptions): Promise<Chosen> {
  const { host = HOST, policy, requested } = options;
  const candidates = await candidatesOn(host, policy.chain);
  const allowed = candidates.filter(({ kind }) => requested === "auto" || kind.name === requested);
  const { chosen, broken, reasons, isUntested } = await firstUsable(allowed, options, host);
  const all = candidates.flatMap(({ writers }) => writers);
  const migrating = new Map(all.map(it => [it, new MigratingBackend(it, all)]));
  const backend = migrating.get(chosen) ?? new MigratingBackend(chosen, all);
  const preferred = broken && migrating.get(broken.backend);
  const { exemption, tables } = options;
  if (isUntested && exemption)
    backend.waitFor(
      (family, isNow) => suitable(exemption([family], isNow ? tables : undefined)),
      policy.enabled,
    );
  if (broken && (await mayDecideLater(broken))) backend.enforceKept(true);
  return {
    backend,
    reason: [...(requested === "auto" ? [] : [`--backend=${requested}`]), ...reasons].join("; "),
    ...(preferred && { preferred }),
    ...(broken && { failure: broken.error.message }),
    alternatives: allowed.flatMap(({ writers }) => writers.flatMap(it => migrating.get(it) ?? [])),
    ownTable: all.find(isOwnTable),
    ...(isUntested && { retest: () => chooseBackend({ ...options, untested: false }) }),
  };
}

/** Foreign rules exempt connections, so `auto` must not use the backend. */
export class UnsuitableError extends Error {
  override readonly name = "UnsuitableError";
}

async function suitable(exemption: Promise<string | undefined>): Promise<void> {
  const exempted = await exemption;
  if (exempted !== undefined) throw new UnsuitableError(exempted);
}

/** All backends that may have written our rules, preferred ones first. */
export async function everyBackend(chain?: string, host: Host = HOST): Promise<Backend[]> {
  return (await candidatesOn(host, chain)).flatMap(({ writers }) => writers);
}

/** The error if program or kernel refuse the rules of a policy; undefined if they accept them. */
export async function refusalOf(backend: Backend, policy: Policy): Promise<ProgramError | undefined> {
  try {
    await backend.check(policy);
    return undefined;
  } catch (error) {
    if (error instanceof ProgramError) return error;
    throw error;
  }
}

/** Whether rules of a backend may translate connections. True if reading fails. */
export async function mayTranslate(backend: Backend): Promise<boolean> {
  try {
    return await translates(backend);
  } catch {
    return true;
  }
}

/** A backend and its installed writers. */
interface Candidate {
  readonly kind: BackendKind;
  readonly writers: readonly Backend[];
}

async function candidatesOn(host: Host, chain: string | undefined): Promise<Candidate[]> {
  return Promise.all(BACKENDS.map(async kind => ({ kind, writers: await kind.writers(host, chain) })));
}

/** A backend whose program fails. */
interface Broken {
  readonly backend: Backend;
  readonly error: ProgramError;
}

interface Selection {
  readonly chosen: Backend;
  readonly reasons: readonly string[];
  /** A preferred backend that is not used only because its program fails now. */
  readonly broken: Broken | undefined;
  /** Whether the first sync tests the backend. */
  readonly isUntested: boolean;
}

/** The first candidate that passes its test, and why earlier candidates did not. The last backend is not tested. */
async function firstUsable(
  candidates: readonly Candidate[],
  { policy, exemption, untested = false }: ChooseOptions,
  host: Host,
): Promise<Selection> {
  const reasons: string[] = [];
  let broken: Broken | undefined;
  const select = ({ backend, reason }: WriterChoice, ...more: string[]): Selection => ({
    chosen: backend,
    reasons: [...reasons, reason, ...more].filter(it => it !== ""),
    broken,
    isUntested: false,
  });
  for (const { kind, writers } of candidates.slice(0, -1)) {
    if (writers.length === 0) {
      reasons.push(`${kind.program} is not installed`);
      continue;
    }
    const choice = await kind.choose(host, writers);
    if (untested && !kind.preservesExemptions)
      return { ...select(choice, `${choice.backend.writer} is installed`), isUntested: true };
    const [error, exempted] = await Promise.all([
      refusalOf(choice.backend, policy),
      kind.preservesExemptions ? undefined : exemption?.(),
    ]);
    const { writer } = choice.backend;
    if (!error && exempted === undefined) return select(choice, acceptedReason(choice.backend));
    // Without the permission the other backends fail, too. The sync reports it with a remedy.
    if (error?.kind === "not-permitted") return select(choice, `${programOf(choice.backend)} is installed`);
    reasons.push(error ? `${writer} cannot load the ruleset: ${error.message}` : `${exempted}`);
    if (error?.kind === "crashed" || error?.kind === "timed-out")
      broken ??= { backend: choice.backend, error };
  }
  const last = candidates.at(-1);
  if (!last) throw new RangeError("no backend to choose from");
  return select(await last.kind.choose(host, last.writers));
}

/** The reason for a backend that passed its test. */
export function acceptedReason(backend: Backend): string {
  return `${programOf(backend)} is installed and the kernel accepts the ruleset`;
}

function programOf({ writer, version }: Backend): string {
  return version === undefined ? writer : `${writer} ${version}`;
}

/** Whether rules of a broken backend may decide about connections after the rules of the chosen backend. */
async function mayDecideLater({ backend, error }: Broken): Promise<boolean> {
  // A program that hangs is not called again.
  return isOwnTable(backend) && (error.kind === "timed-out" || (await mayTranslate(backend)));
}

/** Whether a backend writes to our own table, which is judged after table `nat`. */
export function isOwnTable({ name }: Pick<Backend, "name">): boolean {
  return BACKENDS.some(it => it.name === name && !it.preservesExemptions);
}
