import { expect, test } from "bun:test";
import type { Entry } from "../../src/conntrack/entry.ts";
import { EntryParser } from "../../src/conntrack/parse.ts";
import { addressOf } from "../../src/net/ranges.ts";

/** Each entry as `PROTOCOL SOURCE:PORT>DESTINATION:PORT | ANSWERS [STATE] [zone] [id]`. */
function parsed(text: string, size = text.length): string[] {
  const found: string[] = [];
  const parser = new EntryParser(({ family, protocol, state, original, reply, zone, id }: Entry) => {
    const [there, back] = [original, reply].map(
      ({ source, sourcePort, destination, destinationPort }) =>
        `${addressOf(family, source).text}:${sourcePort}>${addressOf(family, destination).text}:${destinationPort}`,
    );
    found.push(`${protocol} ${there} | ${back} ${state} zone ${zone} id ${id}`);
  });
  const bytes = Buffer.from(text);
  for (let at = 0; at < bytes.length; at += size) parser.read(bytes.subarray(at, at + size));
  return found;
}

const LINES: readonly (readonly [line: string, entry: string])[] = [
  [
    "ipv4     2 tcp      6 431999 ESTABLISHED src=10.244.1.2 dst=203.0.113.7 sport=43210 dport=443 src=203.0.113.7 dst=198.51.100.2 sport=443 dport=1061 [ASSURED] mark=0 use=1 id=1132057387",
    "6 10.244.1.2:43210>203.0.113.7:443 | 203.0.113.7:443>198.51.100.2:1061 ESTABLISHED zone 0 id 1132057387",
  ],
  [
    "ipv4     2 udp      17 29 src=0.0.0.0 dst=255.255.255.255 sport=68 dport=67 packets=1 bytes=328 [UNREPLIED] src=255.255.255.255 dst=0.0.0.0 sport=67 dport=68 packets=0 bytes=0 mark=0 zone=0 use=2",
    "17 0.0.0.0:68>255.255.255.255:67 | 255.255.255.255:67>0.0.0.0:68  zone 0 id undefined",
  ],
  [
    "ipv4     2 icmp     1 598 src=10.1.1.1 dst=10.2.2.2 type=8 code=0 id=77 [UNREPLIED] src=10.2.2.2 dst=10.1.1.1 type=0 code=0 id=77 mark=0 use=1 id=3703194378",
    "1 10.1.1.1:77>10.2.2.2:2048 | 10.2.2.2:77>10.1.1.1:0  zone 0 id 3703194378",
  ],
  [
    "ipv6     10 tcp      6 599 TIME_WAIT src=fd00::1 dst=2001:db8::7:5 sport=1 dport=2 src=2001:db8::7:5 dst=fd00::2 sport=2 dport=2000 mark=0 use=1 id=5",
    "6 fd00::1:1>2001:db8::7:5:2 | 2001:db8::7:5:2>fd00::2:2000 TIME_WAIT zone 0 id 5",
  ],
  [
    "ipv6     10 udp      17 9 src=:: dst=1:2:3:4:5:6:7:8 sport=1 dport=2 src=1:2:3:4:5:6:7:8 dst=1:: sport=2 dport=1 mark=0 use=1",
    "17 :::1>1:2:3:4:5:6:7:8:2 | 1:2:3:4:5:6:7:8:2>1:::1  zone 0 id undefined",
  ],
  [
    "ipv4     2 unknown  89 594 src=10.1.1.1 dst=10.2.2.2 [UNREPLIED] src=10.2.2.2 dst=10.1.1.1 mark=0 use=1 id=9",
    "89 10.1.1.1:0>10.2.2.2:0 | 10.2.2.2:0>10.1.1.1:0  zone 0 id 9",
  ],
  [
    "ipv4     2 gre      47 175 timeout=30, stream_timeout=180 src=10.1.1.1 dst=10.2.2.2 srckey=0x0 dstkey=0x8ab src=10.2.2.2 dst=10.1.1.1 srckey=0x8ab dstkey=0x0 [ASSURED] mark=0 zone=7 use=2",
    "47 10.1.1.1:0>10.2.2.2:2219 | 10.2.2.2:2219>10.1.1.1:0  zone 7 id undefined",
  ],
  [
    "ipv4     2 tcp      6 src=10.1.1.1 dst=10.2.2.2 sport=5 dport=6 src=10.2.2.2 dst=10.1.1.1 sport=6 dport=5 [OFFLOAD] mark=0 zone-orig=3 use=1 id=2",
    "6 10.1.1.1:5>10.2.2.2:6 | 10.2.2.2:6>10.1.1.1:5  zone -1 id 2",
  ],
];

test.each(LINES)("%s", (line, entry) => {
  expect(parsed(`${line}\n`)).toEqual([entry]);
});

test("pieces of any size give the same entries, and other lines are left out", () => {
  const text = LINES.map(([line]) => `${line}\nconntrack v1.4.7: 1 flow entries have been shown.\n\n`).join(
    "",
  );
  for (const size of [1, 7, 64, 1000]) expect(parsed(text, size)).toEqual(LINES.map(([, entry]) => entry));
});

test("a line without an end is not kept", () => {
  expect(parsed(`${"x".repeat(100_000)}\n${LINES[0]?.[0]}\n`, 999)).toEqual([LINES[0]?.[1] ?? ""]);
});
