import { command } from "./command.ts";

export const schema = command({
  name: "schema",
  summary: "print the JSON Schema of the config",
  description: "Prints the JSON Schema of the config, for use in editors and CI.",
  flags: {},
  readsPolicy: false,
  examples: ["ipmasq schema > ip-masq-agent.schema.json"],
  async run() {
    const { jsonSchemas } = await import("../inspect/json-schema.ts");
    return { stdout: `${JSON.stringify(jsonSchemas().config, null, 2)}\n`, exitCode: 0 };
  },
});
