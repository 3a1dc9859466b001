import { afterEach, expect, test } from "bun:test";
import { BINARY } from "../../lab/agent.ts";
import { WRITERS } from "../../lab/writers.ts";
import { labPerFile } from "../lab.ts";
import { CrashingNft } from "./crashing-nft.ts";

const lab = labPerFile();
afterEach(async () => {
  await lab.node.output([BINARY, "cleanup"]);
  await lab.node.output(["nft", "flush", "ruleset"]);
});

/** For each writer, a change of its rules and the rule that decides then. */
const DRIFT: Readonly<Record<string, { readonly command: string; readonly rule: string }>> = {
  nftables: {
    command: "nft insert rule ip ip-masq-agent IP-MASQ-AGENT ip daddr 203.0.113.0/24 return",
    rule: "ip daddr 203.0.113.0/24 return",
  },
  ...Object.fromEntries(
    ["iptables-nft", "iptables-legacy"].map(program => [
      program,
      {
        command: `${program} -t nat -I IP-MASQ-AGENT -d 203.0.113.0/24 -j RETURN`,
        rule: "-A IP-MASQ-AGENT -d 203.0.113.0/24 -j RETURN",
      },
    ]),
  ),
};

test.each(WRITERS)(
  "explain --live answers from the kernel, and says if the config differs: $name",
  async ({ name, flags, prepare }) => {
    const explain = async (...words: string[]) =>
      (await lab.node.output([BINARY, "explain", "--live", ...flags, ...words])).split("\n");
    const { command, rule } = DRIFT[name] ?? { command: "", rule: "" };
    await prepare(lab);
    expect((await explain("203.0.113.7")).slice(0, 3)).toEqual([
      "203.0.113.7: keeps its address",
      "  because  no rule of ipmasq in the kernel matches it",
      "  config   DIFFERS: gets the node's address (masquerade); 203.0.113.7 is not in a non-masquerade CIDR",
    ]);
    await lab.node.output([BINARY, "run", "--once", ...flags]);
    const kept = await explain("10.244.1.2", "10.1.2.3");
    expect(kept[0]).toBe("10.244.1.2 to 10.1.2.3: keeps its address");
    expect(kept[1]).toMatch(/^ {2}because {2}.*(@non-masquerade-a return|-d 10.0.0.0\/8 .*-j RETURN)/);
    expect(kept.slice(2, 4)).toEqual(["  in       chain IP-MASQ-AGENT, by 10.0.0.0/8", "  config   agrees"]);
    await lab.node.output(command.split(" "));
    expect(await explain("203.0.113.7")).toEqual([
      "203.0.113.7: keeps its address",
      `  because  ${rule}`,
      "  in       chain IP-MASQ-AGENT, by 203.0.113.0/24",
      "  config   DIFFERS: gets the node's address (masquerade); 203.0.113.7 is not in a non-masquerade CIDR",
      "  if       203.0.113.7 is not an address of the node, and not a broadcast address of its networks",
      "  if       no outgoing IPsec policy applies",
      "",
    ]);
    await lab.node.output([
      "iptables-nft",
      "-t",
      "nat",
      "-A",
      "POSTROUTING",
      "-d",
      "10.0.0.0/8",
      "-j",
      "MASQUERADE",
    ]);
    expect((await explain("10.1.2.3")).slice(-2)).toEqual([
      "  BUT      unknown: -A POSTROUTING -d 10.0.0.0/8 -j MASQUERADE (iptables-nft, table ip nat, chain POSTROUTING) may catch it; run ipmasq status",
      "",
    ]);
    for (const address of ["198.51.100.2", "2001:DB8:0:0::2"]) {
      const own = JSON.parse((await explain(address, "--enable-ipv6", "--output=json")).join(""));
      expect(own, address).toMatchObject({ rule: "local", live: { verdict: "keep", agrees: true } });
    }
    expect(await explain("224.0.0.251")).toEqual([
      "224.0.0.251: keeps its address",
      expect.stringContaining("multicast is never masqueraded"),
      expect.stringMatching(/^ {2}in {7}chain (postrouting|IP-MASQ-AGENT)/),
      "  config   agrees",
      "",
    ]);
    await lab.node.output("ip address add 192.0.2.1/24 dev eth1".split(" "));
    const directed = JSON.parse((await explain("192.0.2.255", "--output=json")).join(""));
    expect(directed).toMatchObject({ rule: "broadcast", live: { verdict: "keep", agrees: true } });
    await lab.node.output("ip address delete 192.0.2.1/24 dev eth1".split(" "));
  },
);

const DEFAULTS =
  "ipmasq: judged by the defaults, because /etc/config/ip-masq-agent does not exist; no agent answers in /run/ipmasq\n";

test("explain --live works with a rule that iptables cannot read", async () => {
  await lab.node.output([BINARY, "run", "--once"]);
  const chain = "chain POSTROUTING { type nat hook postrouting priority 100; meta mark 77 masquerade; }";
  await lab.node.output(["nft", `table ip nat { ${chain}; }`]);
  const { exitCode, stdout, stderr } = await lab.node.run([BINARY, "explain", "--live", "10.1.2.3"]);
  expect({ exitCode, stderr }).toEqual({ exitCode: 0, stderr: DEFAULTS });
  expect(stdout).toStartWith("10.1.2.3: keeps its address\n");
});

test("explain --live reports rules that it cannot read", async () => {
  const nft = await CrashingNft.create();
  await nft.become("crash");
  const argv = [...nft.environment, BINARY, "explain", "--live", "203.0.113.7"];
  const { exitCode, stdout, stderr } = await lab.node.run(argv);
  expect(exitCode).toBe(0);
  expect(stdout).toContain("no rule of ipmasq in the kernel matches it");
  expect(stderr.replace(DEFAULTS, "")).toMatch(
    /^ipmasq: rules not read: ip: nft .*crashed.*\nipmasq: rules not read: ip6: nft .*crashed.*\n$/,
  );
});
