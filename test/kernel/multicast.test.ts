import { beforeAll, describe, expect, test } from "bun:test";
import { sync } from "../../src/backends/sync.ts";
import { labPerFile } from "../lab.ts";
import { policy, type Short } from "../policies.ts";
import { describeBackends } from "./backends-under-test.ts";

/** Destinations through eth1, which also gets 192.0.2.1/24. */
const TO_MANY = ["224.0.0.251", "239.255.255.250", "255.255.255.255", "192.0.2.255", "ff02::fb", "ff0e::7"];
const TO_ONE = ["203.0.113.7", "2001:db8:1::7"];

/** The bound source port. A random port differs, except in one of 64,512 cases. */
const PORT = 5353;

/** Policies that masquerade everything, some with exceptions for multicast and broadcast. */
const POLICIES: readonly [string, Short][] = [
  ["without CIDRs", {}],
  [
    "with exceptions",
    { keep: ["0.0.0.0/0", "::/0"], masquerade: ["0.0.0.0/1", "128.0.0.0/1", "2001:db8::/32", "ff00::/8"] },
  ],
  ["with interfaces and sources", { interfaces: ["eth1"], sources: ["0.0.0.0/0", "::/0"] }],
];

const lab = labPerFile();
beforeAll(async () => {
  await lab.node.output("ip address add 192.0.2.1/24 dev eth1".split(" "));
  await lab.outside.output(["nft", "-f", "-"], { input: SEEN });
});

describeBackends(({ open }) => {
  test.each(POLICIES)("multicast and broadcast keep their source port, %s", async (_name, short) => {
    const backend = open(lab);
    await backend.remove();
    await sync(backend, policy({ keep: [], masqLinkLocal: true, masqLinkLocalIPv6: true, ...short }, FLAGS));
    const { kept, changed } = await send([...TO_MANY, ...TO_ONE]);
    expect(kept).toEqual(TO_MANY.toSorted());
    expect(changed).toEqual(TO_ONE.toSorted());
    await backend.remove();
  });
});

describe("control", () => {
  test("without the rules above it, masquerading changes the port of each datagram", async () => {
    const input = ["ip", "ip6"].map(
      family =>
        `table ${family} control { chain c { type nat hook postrouting priority 100; masquerade fully-random; }; }`,
    );
    await lab.node.output(["nft", "-f", "-"], { input: input.join("\n") });
    expect((await send(TO_MANY)).changed).toEqual(TO_MANY.toSorted());
    for (const family of ["ip", "ip6"]) await lab.node.output(["nft", "delete", "table", family, "control"]);
  });
});

const FLAGS = { enableIPv6: true, randomFully: true };

/** Sends a datagram to each address, and returns the addresses where it arrived from PORT, and from other ports. */
async function send(to: readonly string[]): Promise<{ kept: string[]; changed: string[] }> {
  run += 1; // other ports each time, because the kernel does not judge tracked connections again
  await lab.node.output([process.execPath, "-e", SEND, `${PORT}`, `${6000 + run}`, ...to]);
  for (;;) {
    const text = await lab.outside.output(["nft", "list", "table", "inet", "seen"]);
    const seen = [...text.matchAll(/([\da-f.:]+) \. (\d+) \. (\d+)/g)].filter(
      ([, , , port]) => Number(port) === 6000 + run,
    );
    if (seen.length < to.length) continue;
    const by = (kept: boolean) =>
      seen
        .filter(([, , source]) => (Number(source) === PORT) === kept)
        .map(([, address = ""]) => address)
        .toSorted();
    return { kept: by(true), changed: by(false) };
  }
}

let run = 0;

const SEEN = `table inet seen {
  set seen4 { typeof ip daddr . udp sport . udp dport; size 4096; flags dynamic; }
  set seen6 { typeof ip6 daddr . udp sport . udp dport; size 4096; flags dynamic; }
  chain every {
    type filter hook prerouting priority -300;
    iifname eth0 add @seen4 { ip daddr . udp sport . udp dport }
    iifname eth0 add @seen6 { ip6 daddr . udp sport . udp dport }
  }
}`;

/** For `bun -e`: a socket for each family, bound to a port, with eth1 as its output interface. */
const SEND = `
  const { createSocket } = require("node:dgram");
  const [from, port, ...addresses] = process.argv.slice(1);
  for (const type of ["udp4", "udp6"]) {
    const socket = createSocket({ type, ipv6Only: true });
    socket.bind({ port: Number(from), address: type === "udp4" ? "192.0.2.1" : "2001:db8::2" }, () => {
      socket.setBroadcast(type === "udp4");
      socket.setMulticastInterface(type === "udp4" ? "192.0.2.1" : "::%eth1");
      const own = addresses.filter(address => address.includes(":") === (type === "udp6"));
      let left = own.length;
      for (const address of own) socket.send("hi", Number(port), address, () => --left || socket.close());
    });
  }`;
