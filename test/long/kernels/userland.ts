import { symlink } from "node:fs/promises";
import { join } from "node:path";
import { unpackPackages } from "../../debian/packages.ts";
import { loaderOf } from "../../debian/tools.ts";

const PACKAGES = [
  ...["nftables", "iptables", "iproute2", "conntrack", "iputils-ping"],
  ...["util-linux", "mount", "kmod", "coreutils", "dash"],
];

/** A Debian 12 root with the programs that the lab needs; it is downloaded once (30 MB, 4 s). */
export async function userland(): Promise<string> {
  return join(await unpackPackages("userland", "bookworm", PACKAGES, nameIptables), "root");
}

/** The command that runs its depmod on this machine. */
export async function depmod(): Promise<string[]> {
  const root = await userland();
  const { loader, libraries } = await loaderOf(root);
  return [loader, "--argv0", "depmod", "--library-path", libraries, join(root, "bin/kmod")];
}

/** Creates the links that update-alternatives would create. */
async function nameIptables(top: string): Promise<void> {
  for (const program of ["iptables", "ip6tables"].flatMap(it => [it, `${it}-save`, `${it}-restore`])) {
    await symlink("xtables-nft-multi", join(top, "root/usr/sbin", program));
  }
}
