import { join } from "node:path";
import { messageOf } from "../../../src/system/errors.ts";
import { unpackPackages } from "../../debian/packages.ts";
import { commandOf, type Missing } from "../../debian/tools.ts";

/** Returns the command of cosign from Debian 13, which is downloaded once (20 MB, 5 s). */
export async function cosign(): Promise<string[] | Missing> {
  try {
    const top = await unpackPackages("cosign", "trixie", ["cosign"], undefined, { alone: ["cosign"] });
    return await commandOf(join(top, "root"), "usr/bin/cosign");
  } catch (error) {
    return { missing: `cosign: ${messageOf(error)}` };
  }
}
