import { expect, test } from "bun:test";
import { jsonSchemas } from "../../src/inspect/json-schema.ts";

test("the JSON Schema has every key, with its type and description", () => {
  const { properties = {}, ...rest } = jsonSchemas().config;
  expect(rest).toEqual({
    $schema: "http://json-schema.org/draft-07/schema#",
    title: "Config of ipmasq and ip-masq-agent",
    type: "object",
    required: [],
    additionalProperties: false,
  });
  expect(Object.keys(properties).sort()).toEqual([
    "cidrLimit",
    "dropLeaks",
    "enableIPv6",
    "enforceNonMasquerade",
    "foreignMasqueradeMarks",
    "masqLinkLocal",
    "masqLinkLocalIPv6",
    "masqueradeCIDRs",
    "nonMasqueradeCIDRs",
    "nonMasqueradeMarks",
    "nonMasqueradeSourceCIDRs",
    "outputInterfaces",
    "resyncInterval",
    "snatAddresses",
    "sourceCIDRs",
  ]);
  for (const property of Object.values(properties)) expect(property).toHaveProperty("description");
  expect(properties.nonMasqueradeCIDRs).toMatchObject({
    anyOf: [
      { type: "array", items: { type: "string", examples: ["10.0.0.0/8", "2001:db8::/32"] } },
      { type: "null" },
    ],
  });
  expect(properties.masqLinkLocal).toMatchObject({ anyOf: [{ type: "boolean" }, { type: "null" }] });
  expect(properties.cidrLimit).toMatchObject({
    anyOf: [{ type: "integer", minimum: 1 }, { type: "null" }],
  });
});
