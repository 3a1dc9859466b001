/** Validates manifests by Kubernetes' OpenAPI schema: types, required fields, and unknown fields. */
import { Ajv } from "ajv";
import * as v from "valibot";
import { parseAllDocuments } from "yaml";

const Document = v.object({ components: v.object({ schemas: v.record(v.string(), v.unknown()) }) });

const Kind = v.looseObject({ apiVersion: v.string(), kind: v.string() });
const KUBERNETES: Readonly<Record<string, string>> = {
  "apps/v1": "io.k8s.api.apps.v1",
  v1: "io.k8s.api.core.v1",
};

/** The documents of a manifest. */
export function documents(manifest: string): v.InferOutput<typeof Kind>[] {
  return parseAllDocuments(manifest).map(document => v.parse(Kind, document.toJS()));
}

/**
 * Returns a function that lists the mistakes in the documents of a manifest. Kinds outside Kubernetes pass.
 *
 * @param openapi OpenAPI documents of one release, as JSON
 */
export function manifestValidator(openapi: readonly string[]): (manifest: string) => string[] {
  const validate = validator(openapi);
  return manifest =>
    documents(manifest).flatMap(document => {
      const group = KUBERNETES[document.apiVersion];
      return group === undefined ? [] : validate(`${group}.${document.kind}`, document);
    });
}

/** Returns the mistakes in a document of a type, as in `io.k8s.api.apps.v1.DaemonSet`. */
type Validate = (type: string, document: unknown) => string[];

function validator(documents: readonly string[]): Validate {
  const ajv = new Ajv({ strict: false, allErrors: true, validateFormats: false });
  const parsed = documents.map(it => v.parse(Document, JSON.parse(it, closed)).components.schemas);
  const schemas = Object.fromEntries(parsed.flatMap(it => Object.entries(it)));
  ajv.addSchema({ components: { schemas } }, "kubernetes");
  return (type, document) => {
    const validate = ajv.getSchema(`kubernetes#/components/schemas/${type}`);
    if (validate === undefined) return [`${type}: unknown type`];
    validate(document);
    return (validate.errors ?? []).map(({ instancePath, message, params }) =>
      [instancePath, message, params.additionalProperty].filter(Boolean).join(" "),
    );
  };
}

/** Rejects fields that a schema does not name. */
function closed(_key: string, value: unknown): unknown {
  const isObject = typeof value === "object" && value !== null && "properties" in value && "type" in value;
  return isObject ? { additionalProperties: false, ...value } : value;
}
