import { readdir, readFile, readlink } from "node:fs/promises";

/**
 * Whether a process is subscribed to the transactions of nf_tables; undefined if /proc does not tell. Sources: netlink(7),
 * `netlink_seq_show` of the kernel.
 */
export async function isListening(pid: number): Promise<boolean | undefined> {
  try {
    const fds = `/proc/${pid}/fd`;
    const links = (await readdir(fds)).map(fd => readlink(`${fds}/${fd}`).catch(() => ""));
    const open = new Set(await Promise.all(links));
    const sockets = (await readFile(`/proc/${pid}/net/netlink`, "utf8")).split("\n").map(parse);
    return sockets.some(
      ({ protocol, groups, inode }) =>
        protocol === NETFILTER && (groups & NFTABLES) !== 0 && open.has(`socket:[${inode}]`),
    );
  } catch {
    return undefined;
  }
}

/** NETLINK_NETFILTER, and the bit of NFNLGRP_NFTABLES. */
const NETFILTER = "12";
const NFTABLES = 1 << 6;

/** A line such as `00000000ecae0f96 12  50  00000140 0 0 0 2 0 56127952`. */
function parse(line: string) {
  const [, protocol, , groups = "", , , , , , inode] = line.split(/\s+/);
  return { protocol, groups: Number.parseInt(groups, 16), inode };
}
