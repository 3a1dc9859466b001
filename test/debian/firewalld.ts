import { Lines } from "../../lab/lines.ts";
import type { Namespace } from "../../lab/namespace.ts";
import type { Chroot } from "./chroot.ts";

/** A running firewalld with its own message bus. */
export class Firewalld {
  readonly #lines: Lines;

  readonly #shell: Bun.Subprocess<"pipe", "pipe", "inherit">;

  private constructor(shell: Bun.Subprocess<"pipe", "pipe", "inherit">) {
    this.#shell = shell;
    this.#lines = new Lines(shell.stdout);
  }

  /** Starts it and waits for its rules. */
  static async start(node: Namespace, chroot: Chroot, backend: "nftables" | "iptables"): Promise<Firewalld> {
    const shell = node.spawn(chroot.command(["/bin/sh", "-c", SERVE, backend]), { stdin: "pipe" });
    const firewalld = new Firewalld(shell);
    await firewalld.#lines.until("running");
    return firewalld;
  }

  /** Runs firewall-cmd. */
  async command(...words: string[]): Promise<void> {
    this.#shell.stdin.write(`${words.join(" ")}\n`);
    this.#shell.stdin.flush();
    const said = await this.#lines.until("exit status");
    if (said.at(-1) !== "exit status 0")
      throw new Error(`firewall-cmd ${words.join(" ")}: ${said.join("\n")}`);
  }

  /** Stops it, which deletes its rules. */
  async stop(): Promise<void> {
    this.#shell.stdin.end();
    await this.#shell.exited;
  }
}

const SERVE = `
cd /run
printf '<busconfig><type>system</type><listen>unix:path=/run/bus</listen><auth>EXTERNAL</auth><policy context="default"><allow send_destination="*"/><allow receive_sender="*"/><allow own="*"/></policy></busconfig>' >bus.conf
export DBUS_SYSTEM_BUS_ADDRESS=unix:path=/run/bus
dbus-daemon --config-file=bus.conf --nofork 2>/dev/null &
bus=$!
mkdir etc
printf 'FirewallBackend=%s\\nDefaultZone=trusted\\n' "$0" >etc/firewalld.conf
while [ ! -S bus ]; do sleep 0.01; done
firewalld --nofork --nopid --system-config /run/etc --log-file /run/log >/dev/null 2>&1 &
daemon=$!
until firewall-cmd --state 2>/dev/null; do kill -0 $daemon || exit 1; done
while read -r words; do
  firewall-cmd $words
  echo "exit status $?"
done
kill $daemon
wait $daemon
kill $bus
`;
