import type { Start } from "./neighbour.ts";

/** Number of services, as in a small cluster. */
const SERVICES = 100;

/** An external address that leads to an internal endpoint, and one whose connections kube-proxy masquerades. */
const REDIRECTED = "203.0.113.200";
const MARKED = "10.96.0.10";
const EFFECTS = [
  [REDIRECTED, "pod"],
  [MARKED, "node"],
] as const;

interface Service {
  readonly name: string;
  readonly address: string;
  readonly endpoint: string;
  readonly marked: boolean;
}

/** The n-th state of a cluster; some services differ from the previous state. */
function services(n: number): Service[] {
  const changing = Array.from({ length: SERVICES }, (_, i) => ({
    name: `SVC${i}`,
    address: `10.97.0.${i}`,
    endpoint: `10.7.${(i + n) % 10 === 0 ? n % 250 : 0}.${i}`,
    marked: i % 2 === 0,
  }));
  const gone = n === 0 ? -1 : n % SERVICES;
  return [
    { name: "REDIRECTED", address: REDIRECTED, endpoint: "10.7.7.7", marked: false },
    { name: "MARKED", address: MARKED, endpoint: "10.7.7.8", marked: true },
    ...changing.filter((_, i) => i !== gone),
  ];
}

/** kube-proxy in nftables mode: each sync changes the maps and chains of its table in one transaction. */
export const kubeProxyNft: Start = async lab => {
  const write = (text: string) => lab.node.output(["nft", "-f", "-"], { input: text });
  let before: readonly Service[] = [];
  const sync = async (n: number) => {
    const now = services(n);
    const same = (a: Service, b: Service) => Bun.deepEquals(a, b);
    const fresh = now.filter(it => !before.some(old => same(old, it)));
    const old = before.filter(it => !now.some(desired => same(desired, it)));
    await write(
      [
        TABLE,
        ...old.map(({ address }) => `delete element ip kube-proxy service-ips { ${address} }`),
        ...fresh.flatMap(({ name, address, endpoint, marked }) => [
          `add chain ip kube-proxy service-${name}`,
          `flush chain ip kube-proxy service-${name}`,
          ...(marked ? [`add rule ip kube-proxy service-${name} jump mark-for-masquerade`] : []),
          `add rule ip kube-proxy service-${name} dnat to ${endpoint}`,
          `add element ip kube-proxy service-ips { ${address} : goto service-${name} }`,
        ]),
        ...old
          .filter(({ name }) => !now.some(it => it.name === name))
          .map(({ name }) => `delete chain ip kube-proxy service-${name}`),
        "",
      ].join("\n"),
    );
    before = now;
  };
  /** As kube-proxy does at start. */
  const anew = async () => {
    await write("add table ip kube-proxy\ndelete table ip kube-proxy\n");
    before = [];
    await sync(0);
  };
  await anew();
  return {
    every: 1000,
    work: n => (n % 20 === 19 ? anew() : sync(n)),
    settle: () => sync(0),
    effects: EFFECTS,
  };
};

const TABLE = `
table ip kube-proxy {
  map service-ips { type ipv4_addr : verdict; }
  chain mark-for-masquerade { }
  chain masquerading { }
  chain services { }
  chain nat-prerouting { type nat hook prerouting priority -100; }
  chain nat-output { type nat hook output priority -100; }
  chain nat-postrouting { type nat hook postrouting priority 100; }
}
flush chain ip kube-proxy mark-for-masquerade
flush chain ip kube-proxy masquerading
flush chain ip kube-proxy services
flush chain ip kube-proxy nat-prerouting
flush chain ip kube-proxy nat-output
flush chain ip kube-proxy nat-postrouting
add rule ip kube-proxy mark-for-masquerade meta mark set meta mark or 0x4000
add rule ip kube-proxy masquerading meta mark and 0x4000 == 0 return
add rule ip kube-proxy masquerading meta mark set meta mark xor 0x4000
add rule ip kube-proxy masquerading masquerade fully-random
add rule ip kube-proxy services ip daddr vmap @service-ips
add rule ip kube-proxy nat-prerouting jump services
add rule ip kube-proxy nat-output jump services
add rule ip kube-proxy nat-postrouting jump masquerading`;

/** kube-proxy in iptables mode: each sync writes the chains KUBE-* with iptables-restore --noflush. */
export function kubeProxyIptables(program: "iptables-nft" | "iptables-legacy"): Start {
  return async lab => {
    let before: readonly Service[] = [];
    const sync = async (n: number) => {
      const now = services(n);
      const gone = before.filter(({ name }) => !now.some(it => it.name === name));
      await lab.node.output([`${program}-restore`, "-w", "5", "--noflush", "--counters"], {
        input: restoreInput(now, gone),
      });
      before = now;
    };
    await sync(0);
    for (const [chain, to] of JUMPS) {
      const jump = ["-m", "comment", "--comment", "kubernetes", "-j", to];
      await lab.node.output([program, "-w", "5", "-t", "nat", "-I", chain, ...jump]);
    }
    return { every: 1000, work: sync, settle: () => sync(0), effects: EFFECTS };
  };
}

const JUMPS = [
  ["PREROUTING", "KUBE-SERVICES"],
  ["OUTPUT", "KUBE-SERVICES"],
  ["POSTROUTING", "KUBE-POSTROUTING"],
] as const;

function restoreInput(services: readonly Service[], gone: readonly Service[]): string {
  const chain = ({ name }: Service) => `KUBE-SVC-${name}`;
  return [
    "*nat",
    ...["KUBE-SERVICES", "KUBE-POSTROUTING", "KUBE-MARK-MASQ"].map(name => `:${name} - [0:0]`),
    ...[...services, ...gone].map(it => `:${chain(it)} - [0:0]`),
    "-A KUBE-POSTROUTING -m mark ! --mark 0x4000/0x4000 -j RETURN",
    "-A KUBE-POSTROUTING -j MARK --xor-mark 0x4000",
    '-A KUBE-POSTROUTING -m comment --comment "kubernetes service traffic requiring SNAT" -j MASQUERADE --random-fully',
    "-A KUBE-MARK-MASQ -j MARK --or-mark 0x4000",
    ...services.flatMap(it => [
      `-A KUBE-SERVICES -d ${it.address} -m comment --comment ${it.name} -j ${chain(it)}`,
      ...(it.marked ? [`-A ${chain(it)} -j KUBE-MARK-MASQ`] : []),
      `-A ${chain(it)} -j DNAT --to-destination ${it.endpoint}`,
    ]),
    ...gone.map(it => `-X ${chain(it)}`),
    "COMMIT",
    "",
  ].join("\n");
}
