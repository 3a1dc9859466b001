import type { Cidr } from "../net/cidr.ts";
import type { Position } from "./problem.ts";

/** A value and where it stands in the config. */
export interface Located<T> {
  readonly value: T;
  readonly at: Required<Position>;
}

/**
 * What the user wrote, read and checked, of one file or of several merged. A key that is missing was not
 * written; what that means is the policy's business.
 */
export interface Config {
  /** Present and empty means that every destination is masqueraded but link-local ones. */
  readonly nonMasqueradeCIDRs?: readonly Located<Cidr>[] | undefined;
  readonly masqueradeCIDRs?: readonly Located<Cidr>[] | undefined;
  readonly sourceCIDRs?: readonly Located<Cidr>[] | undefined;
  /** Connections from here are never masqueraded. */
  readonly nonMasqueradeSourceCIDRs?: readonly Located<Cidr>[] | undefined;
  /** Interface names; one that ends in `*` stands for all that begin so. */
  readonly outputInterfaces?: readonly Located<string>[] | undefined;
  readonly masqLinkLocal?: Located<boolean> | undefined;
  readonly masqLinkLocalIPv6?: Located<boolean> | undefined;
  readonly enableIPv6?: Located<boolean> | undefined;
  /** Milliseconds. */
  readonly resyncInterval?: Located<number> | undefined;
  readonly cidrLimit?: Located<number> | undefined;
}
