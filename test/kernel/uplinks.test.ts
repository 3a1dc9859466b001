import { afterEach, beforeAll, expect, test } from "bun:test";
import { BINARY, RunningAgent } from "../../lab/agent.ts";
import { batch } from "../../lab/network.ts";
import { freshFolder, labPerFile } from "../lab.ts";
import { ROUNDS } from "../rounds.ts";

/** lab/isolate mounts an empty /run. */
const CONFIG = "/run/uplinks/ip-masq-agent";

const ADDRESS = { ip: "192.0.2.7", ip6: "2001:db8:2::7" };

/** One destination of each uplink and family: eth0, eth1, eth2. */
const DESTINATIONS = {
  ip: ["10.1.2.3", "203.0.113.7", "198.18.7.7"],
  ip6: ["fd00:7::7", "2001:db8:7::7", "2001:db8:9::7"],
};
const ALL = Object.values(DESTINATIONS).flat();

const lab = labPerFile();
let agent: RunningAgent | undefined;

beforeAll(async () => {
  const [near, far] = ["02:00:00:00:09:01", "02:00:00:00:09:02"];
  await batch([
    `link add name eth2 netns node address ${near} type veth peer name eth1 netns outside address ${far}`,
  ]);
  await batch(["link set eth1 up", "rule add preference 11 iif eth1 lookup local"], "-n", "outside");
  await batch(["rule add preference 11 iif eth1 lookup 100"], "-6", "-n", "outside");
  await batch(
    [
      "link set eth2 up",
      // IPv4 routes need an address of their interface.
      ...["198.19.0.2/32", "2001:db8:3::2/128"].map(it => `address add ${it} dev eth2`),
      ...["198.19.0.1", "2001:db8:3::1"].map(it => `neighbour add ${it} lladdr ${far} dev eth2`),
      "route add 198.18.0.0/16 via 198.19.0.1 dev eth2 onlink",
      "route add 2001:db8:9::/48 via 2001:db8:3::1 dev eth2 onlink",
    ],
    "-n",
    "node",
  );
});
afterEach(async () => {
  await agent?.end("SIGKILL");
  await change("delete");
  await lab.flushRules();
});

/** Adds or deletes both addresses, and returns the milliseconds until the agent reports the change. */
async function change(action: "add" | "delete", line?: RegExp): Promise<number> {
  const lines = Object.values(ADDRESS).map(
    it => `address ${action} ${it}/${it.includes(":") ? 128 : 32} dev eth2`,
  );
  const began = performance.now();
  await batch(lines, "-n", "node");
  if (line) await agent?.log.until(line);
  return performance.now() - began;
}

const GONE =
  /WARN .*no address of the node is in snatAddresses \(192\.0\.2\.0\/24\), so the kernel chooses; .*2001:db8:2::/;
const BACK =
  /policy in force .*snatAddresses="192\.0\.2\.7 of eth2, in 192\.0\.2\.0\/24; 2001:db8:2::7 of eth2/;

test.each(["nftables", "iptables", "nftables without the JIT"])(
  "%s: every uplink has the configured address while the node has it",
  async name => {
    const [backend, ...without] = name.split(" ");
    // Without the JIT, the agent cannot listen to rtnetlink, and polls.
    const [command, most] =
      without.length > 0 ? [["env", "BUN_JSC_useJIT=0", BINARY], 2000] : [[BINARY], 1000];
    await change("add");
    await freshFolder("/run/uplinks", {
      "ip-masq-agent":
        "nonMasqueradeCIDRs: []\nsnatAddresses: [192.0.2.0/24, '2001:db8:2::/48']\nenableIPv6: true\n",
    });
    agent = RunningAgent.start(lab.node, [`--config=${CONFIG}`, `--backend=${backend}`], command);
    if (without.length > 0) await agent.log.until("lost the address change events");
    await agent.log.until(BACK);
    await masqueradesTo("the address");
    for (let round = 0; round < ROUNDS; round++) {
      const load = await lab.load({ destinations: ALL, flowsPerSecond: 3000 });
      expect(await change("delete", GONE)).toBeLessThan(most);
      await masqueradesTo("another address");
      expect(await change("add", BACK)).toBeLessThan(most);
      for (const { destination, fromPod, other } of await load.stop()) {
        expect(fromPod, destination).toBe(0);
        expect(other, destination).toBeGreaterThan(0);
      }
      await masqueradesTo("the address");
    }
  },
  30_000 + 10_000 * ROUNDS,
);

/** Makes a connection by each uplink and protocol. */
async function masqueradesTo(what: "the address" | "another address"): Promise<void> {
  for (const family of ["ip", "ip6"] as const) {
    const seen = DESTINATIONS[family].flatMap(to =>
      (["tcp", "udp"] as const).map(protocol => lab.connect({ protocol, to })),
    );
    for (const { source } of await Promise.all(seen)) {
      if (what === "the address") expect(source).toBe(ADDRESS[family]);
      else expect([lab.owner(source), source]).not.toContain(ADDRESS[family]);
    }
  }
}
