/** Validates a document by Kubernetes' OpenAPI schema: types, required fields, and unknown fields. */
import * as v from "valibot";

interface Type {
  readonly $ref?: string | undefined;
  readonly allOf?: readonly Type[] | undefined;
  readonly oneOf?: readonly Type[] | undefined;
  readonly type?: string | undefined;
  readonly items?: Type | undefined;
  readonly properties?: Readonly<Record<string, Type>> | undefined;
  readonly additionalProperties?: Type | undefined;
  readonly required?: readonly string[] | undefined;
}

const Type: v.GenericSchema<unknown, Type> = v.object({
  $ref: v.optional(v.string()),
  allOf: v.optional(v.array(v.lazy(() => Type))),
  oneOf: v.optional(v.array(v.lazy(() => Type))),
  type: v.optional(v.string()),
  items: v.optional(v.lazy(() => Type)),
  properties: v.optional(
    v.record(
      v.string(),
      v.lazy(() => Type),
    ),
  ),
  additionalProperties: v.optional(v.lazy(() => Type)),
  required: v.optional(v.array(v.string())),
});
const Document = v.object({ components: v.object({ schemas: v.record(v.string(), Type) }) });

/** Types by their names, as in `io.k8s.api.apps.v1.DaemonSet`. */
export type Schemas = Readonly<Record<string, Type>>;

export function parseSchemas(json: string): Schemas {
  return v.parse(Document, JSON.parse(json)).components.schemas;
}

/** Returns the mistakes in a value, each with its path. */
export function schemaFaults(schemas: Schemas, name: string, value: unknown): string[] {
  const judge = (type: Type | undefined, value: unknown, path: string): string[] => {
    if (!type) return [`${path}: unknown type`];
    if (type.$ref !== undefined) return judge(schemas[type.$ref.replace(/.*\//, "")], value, path);
    if (type.allOf) return type.allOf.flatMap(it => judge(it, value, path));
    if (type.oneOf) {
      const faults = type.oneOf.map(it => judge(it, value, path));
      return faults.some(it => it.length === 0) ? [] : faults.flat();
    }
    if (typeOf(value) !== type.type && !(type.type === "number" && typeOf(value) === "integer"))
      return [`${path}: ${JSON.stringify(value)} is not of type ${type.type}`];
    if (Array.isArray(value)) return value.flatMap((it, index) => judge(type.items, it, `${path}[${index}]`));
    if (typeof value !== "object" || value === null) return [];
    const { properties = {}, additionalProperties, required = [] } = type;
    return [
      ...required.filter(key => !(key in value)).map(key => `${path}.${key}: missing`),
      ...Object.entries(value).flatMap(([key, it]) => {
        const field = properties[key] ?? additionalProperties;
        return field ? judge(field, it, `${path}.${key}`) : [`${path}.${key}: unknown`];
      }),
    ];
  };
  return judge(schemas[name], value, "");
}

function typeOf(value: unknown): string {
  if (value === null) return "null";
  if (Array.isArray(value)) return "array";
  return typeof value === "number" && Number.isInteger(value) ? "integer" : typeof value;
}
