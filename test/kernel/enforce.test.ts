import { afterEach, beforeAll, describe, expect, test } from "bun:test";
import { Connections } from "../../lab/connections.ts";
import { Echo } from "../../lab/echo.ts";
import { sync } from "../../src/backends/sync.ts";
import { labPerFile } from "../lab.ts";
import { policy } from "../policies.ts";
import { type BackendUnderTest, iptables, natByNft, nftables } from "./backends-under-test.ts";
import {
  iptablesMasqueraders,
  type Masquerader,
  SERVICES,
  TABLES,
  type Tool,
  writeServices,
} from "./masquerading-rules.ts";
import { refusing } from "./refusing.ts";

const keep = ["10.0.0.0/8", "fd00::/8"];
const off = policy({ keep }, { enableIPv6: true });
const on = policy({ keep, enforce: true }, { enableIPv6: true });

const lab = labPerFile();
afterEach(() => lab.flushRules());

interface Case {
  readonly name: string;
  readonly backend: BackendUnderTest;
  /** Programs that masquerade after this backend can bind connections. */
  readonly masqueraders: readonly Masquerader[];
  /** The modes of kube-proxy. */
  readonly services: readonly Tool[];
}

const afterIptables = TABLES.filter(it => it.priority > 100);
const CASES: readonly Case[] = [
  {
    name: "nftables",
    backend: nftables(["nft"]),
    masqueraders: [...TABLES, ...iptablesMasqueraders("iptables-nft")],
    services: ["nft", "iptables-nft"],
  },
  ...(["iptables-nft", "iptables-legacy"] as const).map(tool => ({
    name: tool,
    backend: iptables(tool),
    masqueraders: [...afterIptables, ...iptablesMasqueraders(tool)],
    services: [tool],
  })),
  { name: "nft in table nat", backend: natByNft(), masqueraders: afterIptables, services: ["nft"] },
];

/** The owners of the sources that servers see: for connections to kept destinations, and to others. */
async function owners(): Promise<string> {
  const seen = async (...destinations: string[]) => {
    const connections = destinations.flatMap(to =>
      (["tcp", "udp"] as const).map(protocol => lab.ownerSeen({ protocol, to })),
    );
    return [...new Set(await Promise.all(connections))].join(", ");
  };
  return `${await seen("10.1.2.3", "fd00:1::7")}; ${await seen("203.0.113.7", "2001:db8:1::7")}`;
}

describe.each(CASES)("$name", ({ backend, masqueraders, services }) => {
  test.each(masqueraders)("kept connections stay kept beside $name", async ({ write, remove }) => {
    const ours = backend.open(lab);
    await write(lab);
    await sync(ours, off);
    expect(await owners()).toBe("node; node");
    await sync(ours, on);
    expect(await owners()).toBe("pod; node");
    await remove(lab);
    await write(lab);
    await sync(ours, on);
    expect(await owners()).toBe("pod; node");
    expect((await sync(ours, on)).before.inSync).toBe(true);
    await sync(ours, off);
    expect(await owners()).toBe("node; node");
    await ours.remove();
  });

  test.each(services)("Services of kube-proxy by %s and hostPorts work as without the key", async tool => {
    const ours = backend.open(lab);
    await writeServices(lab, tool);
    await sync(ours, off);
    expect(await servicesSeen()).toEqual(EXPECTED);
    await sync(ours, on);
    expect(await servicesSeen()).toEqual(EXPECTED);
    await ours.remove();
  });
});

describe.each(CASES.filter(it => it.name.startsWith("iptables")))("$name without NETMAP", ({ backend }) => {
  test("refuses the key, and all other rules are in force", async () => {
    const ours = backend.open(lab, WITHOUT_NETMAP);
    await sync(ours, on);
    expect(ours.limits).toEqual([expect.stringMatching(/^enforceNonMasquerade has no effect.*xt_NETMAP/)]);
    expect(await owners()).toBe("pod; node");
    expect((await sync(ours, on)).before.inSync).toBe(true);
    expect(await backend.snapshot(lab)).not.toContain("NETMAP");
  });
});

/** Refuses rules with NETMAP, as a kernel without xt_NETMAP does. */
const WITHOUT_NETMAP = refusing("NETMAP", "Couldn't load target NETMAP");

test("a connection counts once, as kept or as masqueraded", async () => {
  const ours = nftables(["nft"]).open(lab);
  const meant = policy({ keep: ["10.0.0.0/8"], masquerade: ["10.96.0.0/12"], enforce: true });
  await sync(ours, meant);
  for (const to of ["10.1.2.3", "10.1.2.4", "10.96.0.1", "203.0.113.7"])
    await lab.connect({ protocol: "tcp", to });
  const { counters } = await ours.plan(meant);
  expect(counters.map(it => `${it.verdict} ${it.cidr?.text ?? "rest"} ${it.connections}`).toSorted()).toEqual(
    ["keep 10.0.0.0/8 2", "keep 169.254.0.0/16 0", "masquerade 10.96.0.0/12 1", "masquerade rest 1"],
  );
});

/** Clients in several places, each with its own servers in the Pod and inside. */
const clients = new Map<Client, Connections>();
type Client = "pod" | "node" | "outside";
beforeAll(() => {
  const echo = new Echo(lab.pod, []);
  const servers = [lab.pod, lab.inside];
  for (const name of ["pod", "node", "outside"] as const)
    clients.set(name, new Connections(lab[name], servers, echo));
});

const CONNECTIONS: readonly (readonly [from: Client, to: string, port: number, owner: string])[] = [
  ["pod", SERVICES.clusterIP, 8181, "pod"],
  ["pod", SERVICES.own, 8181, "node"],
  ["node", SERVICES.clusterIP, 8182, "node"],
  ["node", SERVICES.own, 8182, "node"],
  ["pod", "198.51.100.2", SERVICES.nodePorts, "node"],
  ["outside", "198.51.100.2", SERVICES.nodePorts + 1, "node"],
  ["node", "198.51.100.2", SERVICES.nodePorts + 2, "node"],
  ["pod", "198.51.100.2", SERVICES.remoteNodePorts, "node"],
  ["outside", "198.51.100.2", SERVICES.remoteNodePorts + 1, "node"],
  ["pod", "198.51.100.2", SERVICES.hostPorts, "node"],
  ["outside", "198.51.100.2", SERVICES.hostPorts + 1, "other"],
];

const EXPECTED = CONNECTIONS.map(([from, to, port, owner]) => `${from} to ${to} port ${port}: ${owner}`);

/** The owners of the sources that the endpoints of Services see, by TCP and UDP. */
function servicesSeen(): Promise<string[]> {
  return Promise.all(
    CONNECTIONS.map(async ([from, to, port]) => {
      const seen = (["tcp", "udp"] as const).map(async protocol => {
        const connection = clients.get(from)?.make({ protocol, to, port });
        return lab.owner((await connection)?.source ?? "");
      });
      return `${from} to ${to} port ${port}: ${[...new Set(await Promise.all(seen))].join(", ")}`;
    }),
  );
}
