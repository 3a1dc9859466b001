/** How much there is to download and to keep on a disk. */
import { stat } from "node:fs/promises";
import { BINARY } from "../../lab/agent.ts";
import { megabytes } from "../figure.ts";
import type { Benchmark } from "../result.ts";

/** Files to weigh, by what they are; those that nobody named are left out. */
const FILES: readonly (readonly [string, string | undefined])[] = [
  ["ipmasq, the binary", BINARY],
  ["ipmasq, the image", process.env.IPMASQ_IMAGE],
  ["ip-masq-agent, the binary", process.env.IP_MASQ_AGENT],
];

export async function size(): Promise<Benchmark> {
  const sizes: Record<string, number> = {};
  for (const [name, path] of FILES) {
    if (path !== undefined) sizes[name] = (await stat(path)).size;
  }
  const compressed = Bun.zstdCompressSync(await Bun.file(BINARY).bytes(), { level: 3 }).length;
  const [ours, theirs] = [sizes["ipmasq, the binary"], sizes["ip-masq-agent, the binary"]];
  return {
    title: "Size",
    how: "The binary of ipmasq holds Bun, which is nearly all of it; compressed is with zstd, level 3. The binary of ip-masq-agent needs iptables beside it, that of ipmasq nft or iptables.",
    tables: [
      {
        columns: ["", "size"],
        rows: [
          ...Object.entries(sizes).map(([name, bytes]) => [name, megabytes(bytes)]),
          ["ipmasq, the binary compressed", megabytes(compressed)],
        ],
      },
    ],
    comparisons:
      ours === undefined || theirs === undefined
        ? []
        : [
            {
              what: "Size of the binary",
              better: "less",
              ours: { name: "ipmasq", samples: [ours] },
              others: [{ name: "ip-masq-agent", samples: [theirs] }],
            },
          ],
    raw: { ...sizes, compressed },
  };
}
