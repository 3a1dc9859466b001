/** The size on disk and of a download. */
import { stat } from "node:fs/promises";
import { BINARY } from "../../lab/agent.ts";
import { defineCase } from "../case.ts";
import { megabytes } from "../figure.ts";

/** The files to weigh; a file without a path is left out. */
const FILES: readonly (readonly [string, string | undefined])[] = [
  ["ipmasq, the binary", BINARY],
  ["ipmasq, the image", process.env.IPMASQ_IMAGE],
  ["ip-masq-agent, the binary", process.env.IP_MASQ_AGENT],
];

export const size = defineCase(
  "Size",
  async () => {
    const sizes: Record<string, number> = {};
    for (const [name, path] of FILES) {
      if (path !== undefined) sizes[name] = (await stat(path)).size;
    }
    return {
      ...sizes,
      compressed: Bun.zstdCompressSync(await Bun.file(BINARY).bytes(), { level: 3 }).length,
    };
  },
  (sizes: Record<string, number>) => ({
    how: "Nearly all of ipmasq's binary is Bun. Compressed sizes are for zstd, level 3. ip-masq-agent also needs iptables, and ipmasq needs nft or iptables.",
    tables: [
      { columns: ["", "size"], rows: Object.entries(sizes).map(([name, bytes]) => [name, megabytes(bytes)]) },
    ],
    comparisons: [
      {
        what: "Size of the binary",
        better: "less",
        ours: [sizes["ipmasq, the binary"] ?? Number.NaN],
        others: [["ip-masq-agent", [sizes["ip-masq-agent, the binary"] ?? Number.NaN]]],
      },
    ],
  }),
);
