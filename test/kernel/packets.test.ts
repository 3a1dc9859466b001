import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { Lab } from "../../lab/lab.ts";
import type { Backend } from "../../src/backends/backend.ts";
import { sync } from "../../src/backends/sync.ts";
import type { Family } from "../../src/net/cidr.ts";
import { FAMILIES } from "../../src/net/cidr.ts";
import { policy } from "../policies.ts";
import { describeBackends } from "./backends-under-test.ts";
import { BOTH, EXPECTATIONS, OTHER, OTHER6, ownerSeen, PROTOCOLS } from "./expectations.ts";

/**
 * The Pod's addresses for tests of source ports. Other tests do not use them, because the kernel may reuse the port of an
 * earlier connection from the same address.
 */
const FRESH = { ip: "10.244.8.8", ip6: "fd00:10:244:8::8" };

const OUTSIDE = { ip: "203.0.113.7", ip6: "2001:db8:1::7" };

/** Policies with which a connection can keep its source port. */
const KEEPING = [
  { name: "to any port", toPorts: undefined },
  { name: "with --to-ports that hold them", toPorts: [{ first: 1024, last: 65_535 }] },
];

let lab: Lab;
const owners = (to: string, from?: string) => ownerSeen(lab, to, from);

describeBackends(({ open }) => {
  let backend: Backend;
  beforeAll(async () => {
    lab = await Lab.create();
    backend = open(lab);
    for (const address of [OTHER, OTHER6, FRESH.ip, FRESH.ip6]) await lab.addPodAddress(address);
  });
  afterAll(() => lab.close());

  test.each(EXPECTATIONS)("%s", async (_name, desired, expected) => {
    await sync(backend, desired);
    const seen = expected.map(async ([to, , ...from]) => [to, await owners(to, ...from), ...from]);
    expect(await Promise.all(seen)).toEqual(expected.map(it => [...it]));
  });

  test("a connection to an address of the node, from a Pod or from the node", async () => {
    await sync(backend, policy({ keep: [], masqLinkLocal: true }, BOTH));
    const server = lab.node.spawn([process.execPath, "-e", TELL_THE_SOURCE]);
    await server.stdout.getReader().read();
    const sources = [
      lab.pod.output([process.execPath, "-e", ASK, "10.244.1.2", "10.244.1.1"]),
      lab.pod.output([process.execPath, "-e", ASK, "10.244.1.2", "198.51.100.2"]),
      lab.pod.output([process.execPath, "-e", ASK, "fd00:10:244:1::2", "2001:db8::2"]),
      lab.node.output([process.execPath, "-e", ASK, "10.244.1.1", "198.51.100.2"]),
      lab.node.output([process.execPath, "-e", ASK, "fd00:10:244:1::1", "2001:db8::2"]),
    ];
    expect(await Promise.all(sources)).toEqual([
      "::ffff:10.244.1.2",
      "::ffff:10.244.1.2",
      "fd00:10:244:1::2",
      "::ffff:10.244.1.1",
      "fd00:10:244:1::1",
    ]);
  });

  describe.each(FAMILIES)("source ports of %s", family => {
    test.each(KEEPING)("are the Pod's without --random-fully, $name", async ({ toPorts }) => {
      await sync(backend, policy({}, { ...BOTH, toPorts, randomFully: false }));
      expect((await portsSeen("tcp", family, 40)).every(await ephemeral())).toBe(true);
      expect((await portsSeen("udp", family, 40)).every(isTakenInTurn)).toBe(true);
    });

    test.each(KEEPING)("are random with --random-fully, $name", async ({ toPorts }) => {
      await sync(backend, policy({}, { ...BOTH, toPorts, randomFully: true }));
      expect((await portsSeen("tcp", family, 40)).every(await ephemeral())).toBe(false);
      expect((await portsSeen("udp", family, 40)).every(isTakenInTurn)).toBe(false);
    });

    test.each([true, false])(
      "are evenly spread over --to-ports with --random-fully=%p",
      async randomFully => {
        const toPorts = [
          { first: 1000, last: 1099 },
          { first: 20_000, last: 20_299 },
          { first: 40_000, last: 40_000 },
        ];
        await sync(backend, policy({}, { ...BOTH, toPorts, randomFully }));
        const ports = [...(await portsSeen("udp", family, 1000)), ...(await portsSeen("tcp", family, 200))];
        const shares = toPorts.map(({ first, last }) => ports.filter(it => first <= it && it <= last).length);
        expect(shares.reduce((sum, share) => sum + share)).toBe(1200);
        // 100 and 300 ports of 401: 299 and 898 connections, with a standard deviation of 15.
        expect(shares[0]).toBeWithin(299 - 90, 299 + 90);
        expect(shares[1]).toBeWithin(898 - 90, 898 + 90);
        expect(await owners(OUTSIDE[family])).toBe("node"); // pings have no ports
      },
    );

    test("are the only port of --to-ports", async () => {
      await sync(backend, policy({}, { ...BOTH, toPorts: [{ first: 77, last: 77 }] }));
      expect(new Set(await portsSeen("udp", family, 10))).toEqual(new Set([77]));
      expect(new Set(await portsSeen("tcp", family, 10))).toEqual(new Set([77]));
    });
  });

  test("counters rise by the connections, for the CIDR that decided", async () => {
    const desired = policy(
      {
        keep: ["10.0.0.0/8", "10.1.0.0/16", "192.168.0.0/16", "2001:db8:1::/48"],
        masquerade: ["10.96.0.0/12", "2001:db8:1:1::/64"],
        sources: ["10.244.1.0/24", "fd00::/8"],
      },
      {
        ...BOTH,
        toPorts: [
          { first: 1024, last: 20_000 },
          { first: 30_000, last: 65_535 },
        ],
      },
    );
    await backend.remove();
    await sync(backend, desired);
    const made: [times: number, to: string, from?: string][] = [
      [1, "10.1.2.3"],
      [2, "10.2.2.3"],
      [4, "10.96.0.1"],
      [3, "203.0.113.7"],
      [5, "8.8.8.8", OTHER],
      [1, "2001:db8:1::7"],
      [2, "2001:db8:1:1::7"],
      [3, "2001:db8:2::7"],
    ];
    for (const [times, to, from] of made) for (let i = 0; i < times; i++) await owners(to, from);
    const { counters } = await backend.plan(desired);
    const rows = counters.map(({ family, verdict, cidr, connections }) => [
      `${verdict} ${cidr ?? `outbound of ${family}`}`,
      connections / PROTOCOLS.length,
    ]);
    expect(Object.fromEntries(rows)).toEqual({
      "masquerade 10.96.0.0/12": 4,
      "keep 10.0.0.0/8": 3,
      "keep 169.254.0.0/16": 0,
      "keep 192.168.0.0/16": 0,
      "masquerade outbound of ip": 3,
      "masquerade 2001:db8:1:1::/64": 2,
      "keep 2001:db8:1::/48": 1,
      "keep fe80::/10": 0,
      "masquerade outbound of ip6": 3,
    });
  });

  test("counters include the bytes of the first packets", async () => {
    await backend.remove();
    await sync(backend, policy({}, BOTH));
    await lab.connect({ protocol: "icmp", to: "10.1.2.3" });
    await lab.connect({ protocol: "icmp", to: "2001:db8:1::7" });
    const { counters } = await backend.plan(policy({}, BOTH));
    // ping sends 56 bytes, with headers of 8 and of 20 or 40.
    expect(counters.filter(it => it.connections > 0).map(it => [it.family, it.verdict, it.bytes])).toEqual([
      ["ip", "keep", 84],
      ["ip6", "masquerade", 104],
    ]);
  });

  test("IPv6 link-local: a node does not forward it, but sends to it", async () => {
    const desired = policy({}, BOTH);
    await backend.remove();
    await sync(backend, desired);
    await lab.node.run(["ping", "-6", "-n", "-q", "-c", "1", "-W", "0.1", "-I", "eth0", "fe80::7"]);
    const { counters } = await backend.plan(desired);
    expect(counters.filter(it => it.connections > 0).map(it => `${it.verdict} ${it.cidr}`)).toEqual([
      "keep fe80::/10",
    ]);
  });
});

/** The source ports that servers see, of connections to this many outside addresses. */
async function portsSeen(protocol: "tcp" | "udp", family: Family, connections: number): Promise<number[]> {
  const seen = Array.from({ length: connections }, () =>
    lab.connect({ protocol, to: anotherAddress(family), from: FRESH[family] }),
  );
  return (await Promise.all(seen)).map(({ port = 0 }) => port);
}

/** For one destination, the kernel can reuse a port only a second after the earlier connection. */
function anotherAddress(family: Family): string {
  addressesUsed = (addressesUsed + 1) % 65_536;
  const [high, low] = [addressesUsed >> 8, addressesUsed & 255];
  return family === "ip" ? `198.18.${high}.${low}` : `2001:db8:1::${high}:${low}`;
}

let addressesUsed = 0;

/** Whether the Pod's kernel gives this port to TCP. */
async function ephemeral(): Promise<(port: number) => boolean> {
  const text = await lab.pod.output(["cat", "/proc/sys/net/ipv4/ip_local_port_range"]);
  const [first = 0, last = 0] = text.split(/\s/).map(Number);
  return port => first <= port && port <= last;
}

/** The lab uses ports from 10,000 to 29,999 for UDP, in order. */
function isTakenInTurn(port: number, i: number, ports: readonly number[]): boolean {
  const before = ports[i - 1];
  return before === undefined || (port - before + 20_000) % 20_000 === 1;
}

/** Programs for `bun -e`: a server that sends each client its address, and a client that prints it. */
const TELL_THE_SOURCE = `
  require("node:net").createServer(socket => socket.end(socket.remoteAddress))
    .listen(9000, "::", () => console.log("listening"))`;
const ASK = `
  const [localAddress, host] = process.argv.slice(-2);
  require("node:net").connect({ host, port: 9000, localAddress }).pipe(process.stdout)`;
