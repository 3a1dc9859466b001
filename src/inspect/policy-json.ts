import * as v from "valibot";
import { BACKENDS } from "../backends/backends.ts";
import { Cidr } from "../net/cidr.ts";
import type { Policy } from "../policy/policy.ts";

/** A policy as the active agent sends it through its socket, to commands of the same build. */
export const PolicyAnswer = v.object({
  /** The build of the agent. */
  build: v.string(),
  /** The path of the agent's config, and whether its content is valid now; undefined before the first read. */
  config: v.optional(v.object({ path: v.string(), ok: v.boolean() })),
  /** The name of the agent's backend. */
  backend: v.optional(v.picklist(BACKENDS.map(({ name }) => name))),
  /** The number of conflicts that the agent found, without harmless ones. */
  conflicts: v.optional(v.number(), 0),
  /** Undefined until the agent has a valid config. */
  policy: v.optional(v.pipe(v.unknown(), v.transform(decoded), v.custom<Policy>(isPolicy))),
});
export type PolicyAnswer = v.InferOutput<typeof PolicyAnswer>;

/** A policy as JSON can express it. Keys whose value is undefined get lost. */
export function encodedPolicy(policy: Policy): unknown {
  return encoded(policy);
}

function encoded(value: unknown): unknown {
  if (value instanceof Cidr) return { [CIDR]: value.text };
  if (typeof value === "bigint") return { [BIGINT]: `${value}` };
  if (Array.isArray(value)) return value.map(encoded);
  if (typeof value !== "object" || value === null) return value;
  return Object.fromEntries(Object.entries(value).map(([key, it]) => [key, encoded(it)]));
}

function decoded(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(decoded);
  if (typeof value !== "object" || value === null) return value;
  const entries = Object.entries(value);
  const [first] = entries;
  if (first?.[0] === CIDR) return Cidr.literal(`${first[1]}`);
  if (first?.[0] === BIGINT) return BigInt(`${first[1]}`);
  return Object.fromEntries(entries.map(([key, it]) => [key, decoded(it)]));
}

/** Another build could have other keys, which the caller excludes by `build`. */
function isPolicy(value: unknown): boolean {
  return typeof value === "object" && value !== null && "families" in value && "chain" in value;
}

/** Keys that no policy has. */
const CIDR = "$cidr";
const BIGINT = "$bigint";
