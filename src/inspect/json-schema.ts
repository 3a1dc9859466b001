import { type JsonSchema, toJsonSchema } from "@valibot/to-json-schema";
import * as v from "valibot";
import { KEY_NAMES, KEYS } from "../config/keys.ts";
import { Connections, Forgotten, StaleConnection } from "./connections.ts";
import { Explanation } from "./explain.ts";
import { PortUse } from "./port-use.ts";
import { Status } from "./status.ts";
import { TestFileJson } from "./test-file.ts";
import { TestRun } from "./test-run.ts";
import { VerificationJson } from "./verification.ts";

type Name =
  | "config"
  | "explain"
  | "status"
  | "verify"
  | "test"
  | "test-file"
  | "connections"
  | "connections-stale"
  | "connections-forget-stale"
  | "connections-ports";

/** The JSON Schemas (draft 07) of configs and of the output of `--output=json`, by their names in `docs/`. */
export function jsonSchemas(): Readonly<Record<Name, JsonSchema>> {
  return {
    config: configSchema(),
    explain: { ...toJsonSchema(Explanation), title: "A line of the output of ipmasq explain --output=json" },
    test: { ...toJsonSchema(TestRun), title: "The output of ipmasq test --output=json" },
    "test-file": {
      ...toJsonSchema(TestFileJson, { typeMode: "input", ignoreActions: ["raw_transform", "transform"] }),
      title: "A file of ipmasq test",
    },
    verify: { ...toJsonSchema(VerificationJson), title: "The output of ipmasq verify --output=json" },
    connections: {
      ...toJsonSchema(Connections),
      title: "The output of ipmasq connections --output=json",
    },
    "connections-stale": {
      ...toJsonSchema(StaleConnection),
      title: "A line of the output of ipmasq connections --stale --output=json",
    },
    "connections-forget-stale": {
      ...toJsonSchema(Forgotten),
      title: "The output of ipmasq connections --forget-stale --output=json",
    },
    "connections-ports": {
      ...toJsonSchema(PortUse),
      title: "A line of the output of ipmasq connections --ports --output=json",
    },
    status: { ...toJsonSchema(Status), title: "The output of ipmasq status --output=json" },
  };
}

/** The schema does not express every check of the parser: host bits of CIDRs, for example. */
function configSchema(): JsonSchema {
  const entries = KEY_NAMES.map(name => {
    const { schema, description, default: without } = KEYS[name];
    const text = `${description} Default: ${without}.`.replaceAll("`", "");
    return [name, v.optional(v.pipe(schema(true), v.description(text)))] as const;
  });
  const schema = v.strictObject(Object.fromEntries(entries));
  return {
    ...toJsonSchema(schema, { typeMode: "input", ignoreActions: ["raw_transform"] }),
    title: "Config of ipmasq and ip-masq-agent",
  };
}
