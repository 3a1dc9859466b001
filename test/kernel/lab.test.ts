import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import { readdir, readlink } from "node:fs/promises";
import type { Connection } from "../../lab/connections.ts";
import { Lab, type Owner } from "../../lab/lab.ts";
import { pidHere } from "../../lab/namespace.ts";
import { debianTools } from "../debian/tools.ts";

const PROTOCOLS = ["tcp", "udp", "icmp"] as const;

const INSIDE = ["10.1.2.3", "172.16.0.0", "192.168.255.255", "169.254.10.10", "fd00::7"];
const OUTSIDE = [
  "203.0.113.7",
  "0.1.2.3",
  "100.64.0.1",
  "240.0.0.1",
  "255.255.255.254",
  "2001:db8:1::7",
  "1::",
];

const MASQUERADE = `
  table inet lab-test {
    chain postrouting {
      type nat hook postrouting priority srcnat;
      masquerade fully-random
    }
  }`;

const lab = new Lab();
const openForEachTest = () => {
  beforeEach(() => lab.open());
  afterEach(() => lab.close());
};

describe("connections", () => {
  openForEachTest();
  test("without rules every server sees the Pod's address", async () => {
    expect(await sources(INSIDE)).toEqual(["10.244.1.2", "fd00:10:244:1::2"]);
    expect(await sources(OUTSIDE)).toEqual(["10.244.1.2", "fd00:10:244:1::2"]);
  });

  test("with masquerading they see the node's address on the output interface", async () => {
    await load(MASQUERADE);
    expect(await sources(INSIDE)).toEqual(["10.0.0.2", "fd00:10::2"]);
    expect(await sources(OUTSIDE)).toEqual(["198.51.100.2", "2001:db8::2"]);
    await lab.route("203.0.113.0/24", "inside");
    expect(await sources(["203.0.113.7"])).toEqual(["10.0.0.2"]);
  });

  test("the owner of an address is known", async () => {
    expect(["10.244.1.2", "fd00:10:244:1::2"].map(it => lab.owner(it))).toEqual(["pod", "pod"]);
    expect(["10.244.1.1", "10.0.0.2", "2001:db8::2"].map(it => lab.owner(it))).toEqual([
      "node",
      "node",
      "node",
    ]);
    expect(lab.owner("8.8.8.8")).toBe("other");
  });

  test("the Pod can have more addresses", async () => {
    for (const [from, to] of [
      ["10.244.9.9", "1.1.1.1"],
      ["fd00:10:244:9::9", "2002::1"],
    ] as const) {
      await lab.addPodAddress(from);
      expect(lab.owner(from)).toBe("pod");
      for (const protocol of PROTOCOLS) expect((await lab.connect({ protocol, to, from })).source).toBe(from);
    }
  });

  test("the server sees the source port of the masquerade rule", async () => {
    await load("table ip lab-test { chain postrouting { type nat hook postrouting priority srcnat; }; }");
    await load("add rule ip lab-test postrouting meta l4proto { tcp, udp } masquerade to :77");
    const seen = { source: "198.51.100.2", port: 77 };
    expect(await lab.connect({ protocol: "tcp", to: "1.1.1.1", port: 443 })).toEqual(seen);
    expect(await lab.connect({ protocol: "udp", to: "1.1.1.1", port: 53 })).toEqual(seen);
  });

  test("a changed rule affects the next connection to the same server", async () => {
    for (let i = 0; i < 10; i++) {
      for (const protocol of PROTOCOLS) expect(await owner({ protocol, to: "1.1.1.1" })).toBe("pod");
      await load(MASQUERADE);
      for (const protocol of PROTOCOLS) expect(await owner({ protocol, to: "1.1.1.1" })).toBe("node");
      await lab.node.output(["nft", "flush", "ruleset"]);
    }
  });

  test("many connections at once all arrive", async () => {
    const connections = Array.from({ length: 1000 }, (_, i) =>
      owner({ protocol: i % 2 === 0 ? "tcp" : "udp", to: `10.1.${i >> 8}.${i & 255}` }),
    );
    expect(new Set(await Promise.all(connections))).toEqual(new Set(["pod"]));
  });

  test("a failing connection throws an error", async () => {
    await load("table ip lab-test { chain f { type filter hook forward priority 0; policy drop; }; }");
    const failures = PROTOCOLS.map(protocol => failure({ protocol, to: "1.1.1.1" }));
    expect(await Promise.all(failures)).toEqual(
      PROTOCOLS.map(protocol => `${protocol} from the Pod to 1.1.1.1: no server saw it within 2 s`),
    );
    expect(await failure({ protocol: "udp", to: "1.1.1.1", from: "10.9.9.9" })).toStartWith(
      "udp from 10.9.9.9 to 1.1.1.1: bind EADDRNOTAVAIL",
    );
  });
});

describe("the load", () => {
  openForEachTest();
  test("counts every flow by the owner of its source address", async () => {
    await load(`
      table inet lab-test {
        chain forward { type filter hook forward priority filter; ip daddr 203.0.113.9 drop; }
        chain postrouting {
          type nat hook postrouting priority srcnat
          ip daddr 203.0.113.7 masquerade fully-random
          ip6 daddr 2001:db8:1::7 masquerade fully-random
          ip daddr 203.0.113.8 snat to 192.0.2.1
        }
      }`);
    const results = {
      "10.1.2.3": "fromPod",
      "fd00::7": "fromPod",
      "203.0.113.7": "fromNode",
      "2001:db8:1::7": "fromNode",
      "203.0.113.8": "other",
      "203.0.113.9": "lost",
    };
    const destinations = Object.keys(results);
    for (let i = 0; i < 2; i++) {
      const running = await lab.load({ destinations, flowsPerSecond: 20_000, seconds: 0.5 });
      await running.ended;
      const tallies = await running.stop();
      expect(running.sent).toBeWithin(5_000, 20_000);
      expect(tallies.reduce((sum, { sent }) => sum + sent, 0)).toBe(running.sent);
      for (const [i, [destination, result]] of Object.entries(results).entries()) {
        const sent = tallies[i]?.sent ?? 0;
        const nothing = { fromPod: 0, fromNode: 0, other: 0, lost: 0 };
        expect(tallies[i]).toEqual({ destination, sent, ...nothing, [result]: sent });
      }
    }
  });

  test("keeps its rate and ends in time", async () => {
    const running = await lab.load({ destinations: ["10.1.2.3"], flowsPerSecond: 5_000, seconds: 1 });
    await running.ended;
    expect(running.sent).toBeWithin(4_500, 5_001);
    expect(await running.stop()).toMatchObject([{ sent: running.sent, fromPod: running.sent, lost: 0 }]);
  });
});

describe("namespaces", () => {
  openForEachTest();
  test("a command line runs a program in them", async () => {
    expect(lab.node.command(["ip", "link"])).toEqual(["nsenter", "--net=/run/netns/node", "ip", "link"]);
    const { exitCode, stdout } = await lab.node.run(
      ["sh", "-c", "ls /proc/sys/net/ipv4/conf; cat; exit 3"],
      "from standard input",
    );
    expect(stdout.split("\n")).toEqual([
      "all",
      "cali0",
      "default",
      "eth0",
      "eth1",
      "lo",
      "from standard input",
    ]);
    expect(exitCode).toBe(3);
    await expect(lab.node.output(["false"])).rejects.toThrow(
      "nsenter --net=/run/netns/node false: exit status 1",
    );
  });

  test("only one lab can exist at a time", async () => {
    await expect(Lab.create()).rejects.toThrow("there is a lab already: close it first");
  });

  test("closing leaves no namespaces and no processes", async () => {
    await lab.close();
    const before = await processes();
    const next = await Lab.create();
    await next.load({ destinations: ["10.1.2.3"], flowsPerSecond: 1_000 });
    next.node.spawn(["sleep", "60"]);
    const parent = next.pod.spawn(["sh", "-c", "sleep 60 >/dev/null & echo started"]);
    expect(await parent.stdout.text()).toBe("started\n");
    expect((await processes()).length).toBeGreaterThanOrEqual(before.length + 6);
    await next.close();
    expect(await processes()).toEqual(before);
    expect(await readdir("/run/netns")).toEqual([]);
    await expect(next.connect({ protocol: "tcp", to: "10.1.2.3" })).rejects.toThrow("the lab is closed");
    await next.close();
  });
});

test.each([
  ["in this PID namespace", "12", "7", 12],
  ["in an inner PID namespace", "12\t1", "7", 12],
  ["seen from an outer /proc", "112\t12", "107\t7", 12],
  ["in an inner namespace, seen from an outer /proc", "112\t12\t1", "107\t7", 12],
  ["that is being reaped", "0", "7", undefined],
  ["that has ended", undefined, "7", undefined],
  ["that is the first of the namespace", "1", "7", undefined],
])("the PID to kill of a process %s", (_where, pids, own, pid) => {
  const status = (nsPid?: string) => (nsPid === undefined ? "" : `Name:\tx\nNSpid:\t${nsPid}\nNSpgid:\t0\n`);
  expect(pidHere(status(pids), status(own))).toBe(pid);
});

test("tools of another Debian suite cannot be downloaded in lab/isolate", async () => {
  expect(await debianTools("no-such")).toEqual({
    missing: "Debian's no-such: not downloaded yet, and lab/isolate has no network",
  });
});

describe("lab/isolate", () => {
  test("provides an empty /run, a loopback interface and a PID namespace", async () => {
    const look = "ls /run; ip -brief link | cut -d ' ' -f 1; echo $PPID";
    expect(await isolate("sh", "-c", look).stdout.text()).toBe("ipmasq-lab\nnetns\nlo\n1\n");
  });

  test("exits as the command does", async () => {
    expect(await isolate("sh", "-c", "exit 7").exited).toBe(7);
    expect(await isolate("sh", "-c", "kill -TERM $$").exited).toBe(128 + 15);
    expect(await isolate("no-such-command").exited).toBe(127);
  });

  test.each(["SIGTERM", "SIGHUP", "SIGKILL"] as const)("%s ends all processes in it", async signal => {
    const isolated = isolate("sh", "-c", "sleep 60 & echo started; sleep 60");
    const output = isolated.stdout.getReader();
    await output.read();
    isolated.kill(signal);
    expect((await output.read()).done).toBe(true);
  });

  test("only runs the command if it is isolated already", async () => {
    const isolated = Bun.spawn(["lab/isolate", "readlink", "/proc/self/ns/net"]);
    expect((await isolated.stdout.text()).trim()).toBe(await readlink("/proc/self/ns/net"));
  });

  test("reports what is missing", async () => {
    const nothing = Bun.spawn(["lab/isolate"], { stderr: "pipe" });
    expect(await nothing.stderr.text()).toBe(
      "lab/isolate: no command given; usage: lab/isolate COMMAND [ARGUMENT…]\n",
    );
    expect(await nothing.exited).toBe(125);
  });
});

/** Runs lab/isolate without the environment that marks an isolated process. */
function isolate(...argv: string[]): Bun.Subprocess<"ignore", "pipe", "pipe"> {
  const hidden = 'mount -t tmpfs tmpfs /run && exec lab/isolate "$@"';
  return Bun.spawn(["unshare", "--mount", "sh", "-c", hidden, "sh", ...argv], { stderr: "pipe" });
}

/** Loads a ruleset on the node. */
async function load(ruleset: string): Promise<void> {
  await lab.node.output(["nft", "-f", "-"], { input: ruleset });
}

/** The source addresses that servers see, for every protocol. */
async function sources(destinations: readonly string[]): Promise<string[]> {
  const connections = destinations.flatMap(to => PROTOCOLS.map(protocol => lab.connect({ protocol, to })));
  const seen = await Promise.all(connections);
  return [...new Set(seen.map(({ source }) => source))];
}

function owner(connection: Connection): Promise<Owner> {
  return lab.ownerSeen(connection);
}

function failure(connection: Connection): Promise<string> {
  return lab.connect(connection).then(
    ({ source }) => `a server saw ${source}`,
    error => error.message,
  );
}

/** The PIDs of all processes except this test's short-lived ones. */
async function processes(): Promise<string[]> {
  return (await readdir("/proc")).filter(name => /^\d+$/.test(name));
}
