import { expect, test } from "bun:test";
import type { Entry } from "../../src/conntrack/entry.ts";
import { PortTally } from "../../src/inspect/port-use.ts";
import type { PortRange } from "../../src/net/ports.ts";

const ROW = { family: "ip", cidr: undefined, verdict: "masquerade", origin: undefined } as const;
const JUDGEMENT = { row: ROW, has: "masqueraded", outcome: "agrees" } as const;

/** A connection from 10.0.0.N, seen from 192.0.2.1. */
function entry(port: number, destination = 0xcb007107, protocol = 17): Entry {
  return {
    ...{ family: "ip", protocol, state: "", zone: 0, id: undefined },
    original: { source: 0x0a000001, sourcePort: 5, destination, destinationPort: 53 },
    reply: { source: destination, sourcePort: 53, destination: 0xc0000201, destinationPort: port },
  };
}

function used(entries: readonly Entry[], toPorts?: readonly PortRange[], most?: number): string[] {
  const tally = new PortTally(toPorts, most);
  for (const it of entries) tally.add(it, JUDGEMENT);
  return tally
    .busiest(10)
    .map(
      it =>
        `${it.protocol} ${it.destination}:${it.port} ${it.ports} ${it.used}/${it.available} -${it.uncounted}`,
    );
}

test("each class of ports counts on its own, the highest share first", () => {
  const ports = [1024, 2000, 65535, 600, 700, 500];
  expect(used(ports.map(it => entry(it)))).toEqual([
    "udp 203.0.113.7:53 600-1023 2/424 -0",
    "udp 203.0.113.7:53 1-511 1/511 -0",
    "udp 203.0.113.7:53 1024-65535 3/64512 -0",
  ]);
});

test("with --to-ports, only its ports count", () => {
  const ranges = [
    { first: 2000, last: 2099 },
    { first: 3000, last: 3099 },
  ];
  expect(
    used(
      [1500, 2000, 3000].map(it => entry(it)),
      ranges,
    ),
  ).toEqual(["udp 203.0.113.7:53 2000-2099,3000-3099 2/200 -0"]);
});

test("protocols without ports, and kept connections, use no port of the node", () => {
  const tally = new PortTally(undefined);
  tally.add(entry(2000, 1, 1), JUDGEMENT);
  tally.add(entry(2000), { ...JUDGEMENT, has: "kept" });
  tally.add(entry(2000), { exempt: "hairpin" });
  expect(tally.busiest(10)).toEqual([]);
});

test("with too many destinations, the busiest remain, and the error is stated", () => {
  const busy = Array.from({ length: 50 }, (_, i) => entry(2000 + i, 7));
  const rare = Array.from({ length: 300 }, (_, i) => entry(2000, 1000 + i));
  const mixed = rare.flatMap((it, i) => [it, ...(i % 6 === 0 ? busy.slice(i / 6, i / 6 + 1) : [])]);
  const [first] = used(mixed, undefined, 20);
  const [, count = "", error = ""] = /(\d+)\/64512 -(\d+)/.exec(first ?? "") ?? [];
  expect(first).toStartWith("udp 0.0.0.7:53 ");
  expect(Number(count)).toBeLessThanOrEqual(50);
  expect(Number(count) + Number(error)).toBeGreaterThanOrEqual(50);
});
