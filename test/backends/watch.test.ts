import { expect, test } from "bun:test";
import { Memory } from "../../src/backends/memory.ts";
import { foreignChange, watchTransactions } from "../../src/backends/watch.ts";

test.each([
  ["add rule ip nat POSTROUTING ip daddr 198.51.100.0/24 counter accept", "ip nat POSTROUTING"],
  ["insert rule inet t c masquerade", "inet t c"],
  ["replace rule ip t c handle 3 masquerade", "ip t c"],
  ["delete rule ip nat KUBE-SEP-0123 handle 12", "ip nat KUBE-SEP-0123"],
  ["delete chain ip t c", "ip t c"],
  ["delete table inet t", "inet t"],
  ["add rule inet ip-masq-agent c masquerade", "inet ip-masq-agent c"],
])("%s changes %s", (line, where) => {
  expect(foreignChange(line)).toEqual({ where });
});

test("a new base chain may have any name", () => {
  const line = "add chain ip t c { type nat hook postrouting priority srcnat; policy accept; }";
  expect(foreignChange(line)).toEqual({ where: undefined });
});

test.each([
  "add table ip t",
  "add chain ip t c",
  "add chain ip t c { type filter hook postrouting priority 0; policy accept; }",
  "add element ip t s { 10.0.0.0/8 }",
  "add set ip t s { type ipv4_addr; }",
  "add rule ip ip-masq-agent postrouting masquerade",
  "delete table ip6 ip-masq-agent",
  "# new generation 12 by process 34 (nft)",
])("%s does not change foreign rules", line => {
  expect(foreignChange(line)).toBe(undefined);
});

test("lost events are a change, and nothing is remembered", async () => {
  const memory = new Memory<string, number>();
  const changes = new Calls();
  const monitor = 'sleep 1.2; echo "# ERROR: We lost some netlink events!"; sleep 30';
  const watch = watchTransactions(
    ["sh", "-c", monitor],
    /./,
    { fingerprint: async () => "", plan: () => undefined },
    { changed: () => changes.add(), lost: () => {}, foreign: () => {} },
    memory,
  );
  await changes.next(); // the monitor listens
  memory.listed("ip", 1, memory.epoch);
  expect(memory.get("ip")).toBe(1);
  await changes.next();
  expect(memory.get("ip")).toBe(undefined);
  watch.stop();
});

/** Calls that can be awaited one by one. */
class Calls {
  #called = 0;
  #wake = () => {};

  add(): void {
    this.#called++;
    this.#wake();
  }

  async next(): Promise<void> {
    while (this.#called === 0) await new Promise<void>(resolve => (this.#wake = resolve));
    this.#called--;
  }
}
