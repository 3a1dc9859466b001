import { expect, test } from "bun:test";
import { join } from "node:path";
import { unwritten } from "../../src/system/binary-pages.ts";

const SMAPS = `00200000-01a38000 r--p 00000000 fe:00 4711                               /usr/bin/ip masq
Rss:                5668 kB
Anonymous:             0 kB
Swap:                  0 kB
01a38000-06800000 r-xp 01838000 fe:00 4711                               /usr/bin/ip masq
Anonymous:             0 kB
Swap:                  0 kB
06800000-06808000 r--p 06600000 fe:00 4711                               /usr/bin/ip masq
Anonymous:            32 kB
Swap:                  0 kB
06e00000-06e08000 r--p 06700000 fe:00 4711                               /usr/bin/ip masq
Anonymous:             0 kB
Swap:                 32 kB
06808000-06e00000 rw-p 06608000 fe:00 4711                               /usr/bin/ip masq
Anonymous:             0 kB
Swap:                  0 kB
7f0000000000-7f0000100000 r-xp 00000000 fe:00 815                        /lib/libc.so.6
Anonymous:             0 kB
Swap:                  0 kB
7f0000200000-7f0000300000 rw-p 00000000 00:00 0
Anonymous:             0 kB
Swap:                  0 kB
`;

test("only mappings of the binary to which nothing was written are unmapped", () => {
  expect(unwritten(SMAPS, "/usr/bin/ip masq")).toEqual([
    { from: 0x200000, to: 0x1a38000 },
    { from: 0x1a38000, to: 0x6800000 },
  ]);
  expect(unwritten(SMAPS, "/usr/bin/other")).toEqual([]);
});

const SCRIPT = `
import { readFileSync } from "node:fs";
import { unmapBinary } from "${join(import.meta.dir, "../../src/system/binary-pages.ts")}";
const mapped = () => Number(/RssFile:\\s+(\\d+)/.exec(readFileSync("/proc/self/status", "utf8"))[1]);
const before = mapped();
await unmapBinary();
const after = mapped();
Bun.gc(true);
const again = [3, 1, 2].toSorted().map(it => new RegExp("^" + it).test("1"));
console.log(JSON.stringify({ share: after / before, again, echo: await new Response(Bun.spawn(["echo", "x"]).stdout).text() }));
`;

test.each([
  ["unmaps most of the binary, and then works on", "1", 0.2, 0.8],
  ["changes nothing without the JIT", "0", 0.9, 1.2],
])("%s", async (_what, useJIT, least, most) => {
  const argv = [process.execPath, "--eval", SCRIPT];
  const program = Bun.spawn(argv, { env: { ...process.env, BUN_JSC_useJIT: useJIT } });
  const { share, ...rest } = JSON.parse(await program.stdout.text());
  expect(share).toBeGreaterThan(least);
  expect(share).toBeLessThan(most);
  expect(rest).toEqual({ again: [true, false, false], echo: "x\n" });
});
