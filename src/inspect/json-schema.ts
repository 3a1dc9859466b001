import { type JsonSchema, toJsonSchema } from "@valibot/to-json-schema";
import { Explanation } from "./explain.ts";
import { Status } from "./status.ts";

/** The JSON Schemas of what `--output=json` prints, draft 07, by the names of the commands. */
export function outputSchemas(): Readonly<Record<"explain" | "status", JsonSchema>> {
  return {
    explain: { ...toJsonSchema(Explanation), title: "What ipmasq explain --output=json prints on each line" },
    status: { ...toJsonSchema(Status), title: "What ipmasq status --output=json prints" },
  };
}
