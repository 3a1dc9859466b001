import { expect, test } from "bun:test";
import { ownAddresses } from "../../src/inspect/own-addresses.ts";

const at = (address: string, prefix = 64) => ({ address, cidr: `${address}/${prefix}` });

test("usable addresses, preferred ones first", () => {
  const interfaces = {
    lo: [at("127.0.0.1", 8), at("10.255.0.1", 32), at("::1", 128)],
    eth0: [
      at("192.0.2.7", 24),
      at("2001:db8::bad"),
      at("2001:db8::dad"),
      at("2001:db8::de"),
      at("2001:db8::7e3"),
      at("2001:db8::7"),
      at("fe80::7%eth0"),
      at("::1.0.0.0"),
    ],
    "kube-ipvs0": [at("10.96.0.1", 32)],
    nodelocaldns: [at("169.254.20.10", 32)],
  };
  const inet6 = `00000000000000000000000000000001 01 80 10 80       lo
20010db8000000000000000000000bad 02 40 00 c8     eth0
20010db8000000000000000000000dad 02 40 00 40     eth0
20010db80000000000000000000000de 02 40 00 a0     eth0
20010db80000000000000000000007e3 02 40 00 01     eth0
20010db8000000000000000000000007 02 40 00 80     eth0
`;
  expect(ownAddresses(interfaces, inet6).map(it => `${it.address.text} ${it.interface}`)).toEqual([
    "10.255.0.1 lo",
    "192.0.2.7 eth0",
    "2001:db8::7 eth0",
    "::100:0 eth0",
    "2001:db8::7e3 eth0",
    "2001:db8::de eth0",
  ]);
});
