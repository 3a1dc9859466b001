import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Lab } from "../../lab/lab.ts";
import { output } from "../../lab/output.ts";
import { BUN_VARIABLES } from "../../src/cli/environment.ts";
import type { Chroot } from "../debian/chroot.ts";
import { absent } from "../programs.ts";
import { SYSTEMD_SUITES, Systemd, systemdRoot } from "./systemd.ts";

const INSTALL = join(import.meta.dir, "../../deploy/systemd/install");
const UNIT = "/usr/local/lib/systemd/system/ipmasq.service";
const CONFIG = "/etc/config/ip-masq-agent";
const OUTBOUND = "203.0.113.7";

test("install respects DESTDIR and PREFIX", async () => {
  const root = await mkdtemp(join(tmpdir(), "ipmasq-"));
  expect(await output(["env", `DESTDIR=${root}`, "PREFIX=/usr", INSTALL])).toBe("");
  const unit = await Bun.file(join(root, "usr/lib/systemd/system/ipmasq.service")).text();
  expect(unit).toContain("ExecStart=/usr/bin/ipmasq\n");
  expect(unit).not.toContain("/usr/local");
  expect(unit).toContain(`\nUnsetEnvironment=${BUN_VARIABLES.join(" ")}\n`);
  await rm(root, { recursive: true });
});

for (const suite of SYSTEMD_SUITES) {
  const chroot = await systemdRoot(suite);
  if ("missing" in chroot) absent(chroot.missing);
  else if (process.env.LAB_USER) absent("systemd as process 1 needs root");
  else describe(`Debian's ${suite} with ipmasq.service and nftables.service`, () => installed(chroot));
}

function installed(chroot: Chroot): void {
  let lab: Lab;
  let systemd: Systemd;
  beforeAll(async () => {
    const root = await mkdtemp(join(tmpdir(), "ipmasq-"));
    await output(["env", `DESTDIR=${root}`, INSTALL]);
    lab = await Lab.create();
    systemd = await Systemd.start(lab.node, chroot, root, ["ipmasq", "nftables"]);
    await rm(root, { recursive: true });
  }, 60_000);
  afterAll(async () => {
    await systemd.stop();
    await lab.close();
  });

  const run = (line: string) => systemd.run(line);
  const property = (unit: string, name: string) => run(`systemctl show --property=${name} --value ${unit}`);
  const owner = () => lab.ownerSeen({ protocol: "tcp", to: OUTBOUND });
  const syncs = async (trigger: string) => {
    const get = `console.log(await (await fetch("http://127.0.0.1:9469/metrics")).text())`;
    const metrics = await lab.node.output([process.execPath, "--eval", get]);
    return metrics.split("\n").filter(line => line.startsWith(`ipmasq_syncs_total{trigger="${trigger}"`));
  };
  /** Waits until a condition holds; the test's timeout limits it. */
  const until = async (holds: () => Promise<boolean>) => {
    while (!(await holds())) await Bun.sleep(10);
  };

  test("systemd finds no errors in the unit and rates it as secure", async () => {
    expect(await run(`systemd-analyze verify ${UNIT}`)).toBe("");
    expect(await run(`systemd-analyze security --offline=true --threshold=20 ${UNIT}`)).toContain("OK");
  });

  test("the rules are in force before the network is up and after nftables.service", async () => {
    const started = (unit: string) => property(unit, "ActiveEnterTimestampMonotonic").then(Number);
    const nftables = await started("nftables.service");
    const ipmasq = await started("ipmasq.service");
    expect(nftables).toBeGreaterThan(0);
    expect(ipmasq).toBeGreaterThan(nftables);
    expect(await started("network-pre.target")).toBeGreaterThan(ipmasq);
    expect(await property("ipmasq", "Result")).toBe("success");
    expect(await run("systemctl --failed --quiet")).toBe("");
    expect(await owner()).toBe("node");
  });

  test("the agent has only the privileges that it needs", async () => {
    const status = await run(`cat /proc/${await property("ipmasq", "MainPID")}/status`);
    const facts = new Map(status.split("\n").map(line => [line.split(":")[0], line.split("\t")[1]]));
    // NET_ADMIN and NET_RAW are bits 12 and 13; seccomp mode 2 is a filter.
    const netAdminAndRaw = (0b11 << 12).toString(16).padStart(16, "0");
    expect(Object.fromEntries(facts)).toMatchObject({
      CapEff: netAdminAndRaw,
      CapBnd: netAdminAndRaw,
      CapAmb: "0".repeat(16),
      NoNewPrivs: "1",
      Seccomp: "2",
    });
  });

  test("a saved config is applied, and reload triggers a sync", async () => {
    await run("mkdir -p /etc/config");
    await run(`echo 'nonMasqueradeCIDRs: [${OUTBOUND}/32]' >/etc/config/new && mv /etc/config/new ${CONFIG}`);
    await until(async () => (await owner()) === "pod");
    await run(`rm ${CONFIG}`);
    await until(async () => (await owner()) === "node");
    expect(await syncs("signal")).toEqual([]);
    await run("systemctl reload ipmasq");
    await until(async () => (await syncs("signal")).length > 0);
    expect(await syncs("signal")).toEqual(['ipmasq_syncs_total{trigger="signal",result="unchanged"} 1']);
  }, 20_000);

  test("rules that a reload of nftables.service flushes are repaired", async () => {
    await run("systemctl reload nftables");
    await until(async () => (await run("journalctl --unit=ipmasq --output=cat")).includes("repaired"));
    expect(await owner()).toBe("node");
  }, 20_000);

  test("the watchdog restarts an agent only if it hangs", async () => {
    const folder = "/run/systemd/system/ipmasq.service.d";
    await run(`mkdir -p ${folder} && printf '[Service]\\nWatchdogSec=1\\n' >${folder}/watchdog.conf`);
    await run("systemctl daemon-reload && systemctl restart ipmasq");
    const pid = await property("ipmasq", "MainPID");
    await Bun.sleep(3000); // three watchdog intervals
    expect(await property("ipmasq", "MainPID")).toBe(pid);
    expect(Number(pid)).toBeGreaterThan(1); // PID 0 would stop every process of the test run
    await run(`kill -STOP ${pid}`);
    await until(async () => ![pid, "0"].includes(await property("ipmasq", "MainPID")));
    expect(await property("ipmasq", "NRestarts")).toBe("1");
    await run(`rm -r ${folder} && systemctl daemon-reload && systemctl restart ipmasq`);
    expect(await property("ipmasq", "WatchdogUSec")).toBe("1min 30s");
  }, 20_000);

  test("the node lock belongs to root, and cleanup and status find the agent through it", async () => {
    expect(await run("stat --format='%a %U' /run/ipmasq")).toBe("700 root");
    const asked = () => run("ipmasq status --listen=; true");
    await until(async () => !(await asked()).includes("no agent answers"));
    const refused = await run("ipmasq cleanup; echo $?");
    expect(refused).toMatch(/^ipmasq: an agent is active on this node \(pid \d+, ipmasq .*\n1$/);
    expect(refused).toContain(`(pid ${await property("ipmasq", "MainPID")},`);
  });

  test("iptables-legacy can use its lock", async () => {
    await run(
      "echo IPMASQ_BACKEND=iptables >/etc/default/ipmasq && iptables-legacy -t mangle -N KUBE-IPTABLES-HINT",
    );
    await run("systemctl restart ipmasq");
    expect(await run("iptables-legacy -t nat -S IP-MASQ-AGENT")).toContain("MASQUERADE");
    expect(await owner()).toBe("node");
    expect(await run("nft list tables")).not.toContain("ip-masq-agent");
  }, 20_000);

  test("the agent stops at once, its rules stay, and cleanup removes them", async () => {
    await run("systemctl stop ipmasq");
    expect(await property("ipmasq", "Result")).toBe("success");
    expect(await owner()).toBe("node");
    await run("ipmasq cleanup");
    expect(await owner()).toBe("pod");
  }, 20_000);
}
