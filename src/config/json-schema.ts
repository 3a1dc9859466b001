import { type JsonSchema, toJsonSchema } from "@valibot/to-json-schema";
import { configSchema } from "./schema.ts";

/** The JSON Schema of a config, draft 07. What only our parser checks, as host bits, is not in it. */
export function jsonSchema(): JsonSchema {
  return {
    ...toJsonSchema(configSchema(true), { typeMode: "input", ignoreActions: ["raw_transform"] }),
    title: "Config of ipmasq and ip-masq-agent",
  };
}
