/**
 * Validates a document by the schema of structured-merge-diff, which server-side apply uses. The schema has every field
 * with its type, but not which fields are required.
 */
import * as v from "valibot";
import { parse } from "yaml";

interface Type {
  readonly namedType?: string | undefined;
  readonly scalar?: string | undefined;
  readonly list?: { readonly elementType: Type } | undefined;
  readonly map?:
    | {
        readonly fields?: readonly { readonly name: string; readonly type: Type }[] | undefined;
        readonly elementType?: Type | undefined;
      }
    | undefined;
}

const Type: v.GenericSchema<unknown, Type> = v.object({
  namedType: v.optional(v.string()),
  scalar: v.optional(v.picklist(["string", "numeric", "boolean", "untyped"])),
  list: v.optional(v.object({ elementType: v.lazy(() => Type) })),
  map: v.optional(
    v.object({
      fields: v.optional(v.array(v.object({ name: v.string(), type: v.lazy(() => Type) }))),
      elementType: v.optional(v.lazy(() => Type)),
    }),
  ),
});
const Schema = v.object({ types: v.array(v.intersect([v.object({ name: v.string() }), Type])) });

/** Types by their names, as in `io.k8s.api.apps.v1.DaemonSet`. */
export type Fields = ReadonlyMap<string, Type>;

export function parseFields(yaml: string): Fields {
  return new Map(v.parse(Schema, parse(yaml)).types.map(type => [type.name, type]));
}

/** Returns the mistakes in a value, each with its path. */
export function fieldFaults(fields: Fields, name: string, value: unknown): string[] {
  const judge = (type: Type | undefined, value: unknown, path: string): string[] => {
    if (!type) return [`${path}: unknown type`];
    if (type.namedType !== undefined) return judge(fields.get(type.namedType), value, path);
    if (Array.isArray(value)) {
      if (!type.list) return [`${path}: unexpected list`];
      const { elementType } = type.list;
      return value.flatMap((it, index) => judge(elementType, it, `${path}[${index}]`));
    }
    if (typeof value === "object" && value !== null) {
      if (!type.map) return [`${path}: unexpected map`];
      const { fields: known = [], elementType } = type.map;
      return Object.entries(value).flatMap(([key, it]) => {
        const field = known.find(({ name }) => name === key)?.type ?? elementType;
        return field ? judge(field, it, `${path}.${key}`) : [`${path}.${key}: unknown`];
      });
    }
    const right = type.scalar === "untyped" || SCALARS[typeof value] === type.scalar;
    return right ? [] : [`${path}: ${JSON.stringify(value)} is not ${type.scalar ?? "a scalar here"}`];
  };
  return judge(fields.get(name), value, "");
}

const SCALARS: Readonly<Record<string, string>> = { string: "string", number: "numeric", boolean: "boolean" };
