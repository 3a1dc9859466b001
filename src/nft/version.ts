import { ProgramError } from "../system/program.ts";

/** How a set is declared: by its data type, or by what is looked up in it. */
export type Declaration = "type" | "typeof";

/** What an nft of some version can do. */
export interface Features {
  readonly version: string;
  /**
   * A set that nft 1.1.3 or later declares by `type` makes nft 0.9.8 to 1.0.9 on the same node crash when
   * it lists anything (kubernetes/kubernetes issue 136786). One that is declared by `typeof` does not, but
   * nft before 1.1.2 cannot read that from JSON.
   */
  readonly declaration: Declaration;
  /** Whether the counters of elements are listed back. */
  readonly elementCounters: boolean;
}

/** Throws ProgramError for a version that is not supported. */
export function featuresOf(version: string): Features {
  if (before(version, "1.0.2")) {
    throw new ProgramError(
      "unsupported",
      "nft",
      `version ${version} is too old`,
      "install nft 1.0.2 or later",
    );
  }
  return {
    version,
    declaration: before(version, "1.1.2") ? "type" : "typeof",
    elementCounters: !before(version, "1.0.6"),
  };
}

/**
 * Whether an nft of that version crashes when a newer nft on the node declared a set or a map by its type. Source:
 * measured, 0.9.8 and 1.0.6 do, 1.1.3 and 1.1.7 do not (`npm run test:versions`); for 1.0.7 to 1.0.9
 * kubernetes/kubernetes issue 136786.
 */
export function crashesBesideNewer(version: string): boolean {
  return before(version, "1.1.0");
}

function before(version: string, other: string): boolean {
  return Bun.semver.order(version.split(".").length === 2 ? `${version}.0` : version, other) < 0;
}
