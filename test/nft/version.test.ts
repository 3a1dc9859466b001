import { expect, test } from "bun:test";
import { crashesBesideNewer } from "../../src/nft/version.ts";

test.each([
  ["1.0.2", true],
  ["1.0.6", true],
  ["1.0.9", true],
  ["1.1.3", false],
  ["1.1.7", false],
  ["1.2", false],
])("nft %s crashes beside a newer nft: %p", (version, crashes) => {
  expect(crashesBesideNewer(version)).toBe(crashes);
});
