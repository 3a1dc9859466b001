import { ProgramError } from "../system/program.ts";

/** How a set is declared: by its data type, or by the expression that is looked up in it. */
export type Declaration = "type" | "typeof";

/** The features of a version of nft. */
export interface Features {
  readonly version: string;
  /**
   * If nft 1.1.3 or later declares a set by `type`, nft 0.9.8 to 1.0.9 on the same node crash whenever they list
   * anything (kubernetes/kubernetes issue 136786). `typeof` avoids the crash, but nft before 1.1.2 cannot read
   * `typeof` from JSON.
   */
  readonly declaration: Declaration;
  /** Whether nft lists the counters of elements. */
  readonly elementCounters: boolean;
  /**
   * Whether a listing without elements, or an echo, costs little. nft 0.9.8 and 1.0.6 read all elements nevertheless, for
   * an echo those of all tables on the node: 1.8 s and 133 MB with 200,000 foreign ones.
   */
  readonly listsTersely: boolean;
}

/** The features of a version. Throws ProgramError if the version is too old. */
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
    listsTersely: !before(version, "1.1.0"),
  };
}

/**
 * Whether this version of nft crashes if a newer nft on the node declared a set or a map by its type. Measured: 0.9.8
 * and 1.0.6 crash, 1.1.3 and 1.1.7 do not (`npm run test:versions`). For 1.0.7 to 1.0.9, kubernetes/kubernetes issue
 * 136786 reports crashes.
 */
export function crashesBesideNewer(version: string): boolean {
  return before(version, "1.1.0");
}

function before(version: string, other: string): boolean {
  return Bun.semver.order(version.split(".").length === 2 ? `${version}.0` : version, other) < 0;
}
