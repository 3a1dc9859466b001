import { type FailureKind, failureKind } from "../system/program.ts";
import { UnsuitableError } from "./choose.ts";

/** A change of the backend that writes the rules. */
export interface Move {
  readonly from: string;
  readonly to: string;
  readonly reason: string;
  /** Why the preferred backend does not write the rules; undefined if it does. */
  readonly fallback: string | undefined;
  /** Whether the first sync showed that another backend must be chosen. */
  readonly isChoice?: boolean;
}

/** In milliseconds. */
export interface Pauses {
  /**
   * The first and the longest pause between tries of the preferred backend, in milliseconds. Each crash of a program
   * adds a line to the kernel's log.
   */
  readonly first: number;
  readonly last: number;
  /** How long a sync waits for the test of the preferred backend. The test usually takes 20 ms. */
  readonly check: number;
}

export const PAUSES: Pauses = { first: 10_000, last: 300_000, check: 2000 };

/** Consecutive failures before a move, for kinds of failure that may be temporary. */
export const FAILURES_BEFORE_MOVE = 3;

/** Whether the program itself fails, so that another program may work. A refusal may have its cause in the kernel. */
export function isFailing(kind: FailureKind | undefined, persists: boolean): boolean {
  switch (kind) {
    case "crashed":
    case "not-found":
    case "timed-out":
    case "incompatible":
      return true;
    case "not-permitted":
    case "unsupported":
    case "refused":
    case "busy":
      return persists;
    default:
      return false;
  }
}

/** Whether a family failed because its rules cannot be read by this program, but perhaps by another one. */
export function isUnreadable({ error }: { readonly error: unknown }): boolean {
  return failureKind(error) === "incompatible";
}

/**
 * Whether an error may mean that the program does not work, that it or the kernel refuse the rules, or that the backend
 * must not be used.
 */
export function isDoubtful(error: unknown): boolean {
  if (error instanceof UnsuitableError) return true;
  const kind = failureKind(error);
  return kind !== undefined && ["unsupported", "refused", "incompatible", "crashed"].includes(kind);
}
