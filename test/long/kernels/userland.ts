import { symlink } from "node:fs/promises";
import { join } from "node:path";
import { unpackPackages } from "../../debian/packages.ts";
import { commandOf } from "../../debian/tools.ts";

const PACKAGES = [
  ...["nftables", "iptables", "iproute2", "conntrack", "iputils-ping"],
  ...["util-linux", "mount", "kmod", "coreutils", "dash", "cpio"],
];

/** A Debian 12 root with the programs that the lab needs; it is downloaded once (30 MB, 4 s). */
export async function userland(): Promise<string> {
  return join(await unpackPackages("userland-cpio", "bookworm", PACKAGES, nameIptables), "root");
}

/** The command that runs a program of its /bin on this machine; `depmod` is a name of kmod. */
export async function command(name: "cpio" | "depmod"): Promise<string[]> {
  return commandOf(await userland(), name === "depmod" ? "bin/kmod" : `bin/${name}`, name);
}

/** Creates the links that update-alternatives would create. */
async function nameIptables(top: string): Promise<void> {
  for (const program of ["iptables", "ip6tables"].flatMap(it => [it, `${it}-save`, `${it}-restore`])) {
    await symlink("xtables-nft-multi", join(top, "root/usr/sbin", program));
  }
}
