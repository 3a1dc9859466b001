/** The Debian and RPM packages, on clean Debian systems with systemd as process 1. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { copyFile, mkdir, mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { DIST } from "../../../lab/agent.ts";
import { Lab } from "../../../lab/lab.ts";
import { output } from "../../../lab/output.ts";
import { version } from "../../../package.json";
import { Systemd } from "../../deploy/systemd.ts";
import { absent } from "../../programs.ts";
import { CLEAN_SUITES, cleanSystem } from "./debootstrap.ts";

const DEB = `ipmasq_${version}_${process.arch === "arm64" ? "arm64" : "amd64"}.deb`;
const RPM = `ipmasq-${version}-1.${process.arch === "arm64" ? "aarch64" : "x86_64"}.rpm`;
const LIMIT_MS = 120_000;
const OUTBOUND = "203.0.113.7";
const FILES = [
  "/etc/default/ipmasq",
  "/usr/bin/ipmasq",
  "/usr/lib/systemd/system/ipmasq.service",
  "/usr/lib/tmpfiles.d/ipmasq.conf",
  "/usr/share/bash-completion/completions/ipmasq",
  "/usr/share/doc/ipmasq/changelog.gz",
  "/usr/share/doc/ipmasq/copyright",
  "/usr/share/fish/vendor_completions.d/ipmasq.fish",
  "/usr/share/man/man8/ipmasq.8.gz",
];

test("the Debian packages have the expected files and relations", async () => {
  for (const architecture of ["amd64", "arm64"]) {
    const deb = join(DIST, `ipmasq_${version}_${architecture}.deb`);
    expect(await output(["dpkg-deb", "--field", deb, "Version", "Architecture", "Recommends"])).toBe(
      `Version: ${version}\nArchitecture: ${architecture}\nRecommends: nftables (>= 1.0.2) | iptables, conntrack\n`,
    );
    const listed = (await output(["dpkg-deb", "--contents", deb])).split("\n");
    const files = listed.filter(it => it.startsWith("-")).map(it => it.split(/ \.(?=\/)/)[1] ?? "");
    expect(files.sort()).toEqual([...FILES, "/usr/share/zsh/vendor-completions/_ipmasq"].sort());
    expect(listed.filter(line => line !== "" && !line.includes(" root/root "))).toEqual([]);
  }
});

for (const suite of CLEAN_SUITES) {
  const system = await cleanSystem(suite);
  if ("missing" in system) {
    absent(system.missing);
    continue;
  }
  for (const format of ["deb", "rpm"] as const)
    describe(`the ${format} on a clean Debian ${suite}`, () => {
      let lab: Lab;
      let systemd: Systemd;
      beforeAll(async () => {
        const files = await mkdtemp(join(tmpdir(), "ipmasq-"));
        await mkdir(join(files, "root"));
        for (const name of [DEB, RPM]) await copyFile(join(DIST, name), join(files, "root", name));
        lab = await Lab.create();
        systemd = await Systemd.start(lab.node, system, files, ["nftables"]);
        await rm(files, { recursive: true });
      }, LIMIT_MS);
      afterAll(async () => {
        await systemd.stop();
        await lab.close();
      });

      const run = (line: string) => systemd.run(line);
      const owner = () => lab.ownerSeen({ protocol: "tcp", to: OUTBOUND });
      const pid = () => run("systemctl show --property=MainPID --value ipmasq");
      // Debian's rpm has no database of Debian's packages.
      const [install, upgrade, remove] =
        format === "deb"
          ? [`dpkg -i /root/${DEB}`, `dpkg -i /root/${DEB}`, "dpkg --remove ipmasq"]
          : [`rpm -i --nodeps /root/${RPM}`, `rpm -U --force --nodeps /root/${RPM}`, "rpm -e ipmasq"];

      test(
        "starts nothing when it is installed",
        async () => {
          await run(install);
          expect(await run("systemctl is-enabled ipmasq || true")).toBe("disabled");
          expect(await run("systemctl is-active ipmasq || true")).toBe("inactive");
          expect(await run("ipmasq version")).toContain(version);
          expect(await owner()).toBe("pod");
        },
        LIMIT_MS,
      );

      test(
        "systemctl enable --now brings the rules in force",
        async () => {
          await run("systemctl enable --now ipmasq 2>&1");
          expect(await run("systemctl is-active ipmasq")).toBe("active");
          expect(await owner()).toBe("node");
        },
        LIMIT_MS,
      );

      test(
        "an upgrade restarts the agent, and keeps the rules and the settings",
        async () => {
          await run("echo IPMASQ_LOG_LEVEL=debug >>/etc/default/ipmasq");
          const before = await pid();
          await run(upgrade);
          expect(await pid()).not.toBe(before);
          expect(await run("systemctl is-active ipmasq")).toBe("active");
          expect(await run("tail -n 1 /etc/default/ipmasq")).toBe("IPMASQ_LOG_LEVEL=debug");
          expect(await owner()).toBe("node");
        },
        LIMIT_MS,
      );

      test(
        "removing it stops the agent, and the rules stay",
        async () => {
          await run(remove);
          expect(await run("systemctl is-active ipmasq || true")).toBe("inactive");
          expect(await run("command -v ipmasq || echo none")).toBe("none");
          expect(await owner()).toBe("node");
        },
        LIMIT_MS,
      );

      if (format === "deb")
        test.each(["nftables", "iptables"])(
          "a purge leaves no rule of --backend=%s",
          async backend => {
            await run(install);
            await run(`ipmasq run --once --backend=${backend} --enable-ipv6 2>&1`);
            expect(await owner()).toBe("node");
            await run("iptables -t nat -A POSTROUTING -d 192.0.2.1 -j ACCEPT");
            await run("dpkg --purge ipmasq");
            expect(await owner()).toBe("pod");
            expect(await run("nft list ruleset")).not.toContain("ip-masq-agent");
            expect(await run("iptables -t nat -S; ip6tables -t nat -S")).not.toContain("MASQ");
            expect(await run("iptables -t nat -S POSTROUTING")).toContain("-d 192.0.2.1/32 -j ACCEPT");
            expect(await run("ls /etc/default/ipmasq 2>/dev/null || echo none")).toBe("none");
          },
          LIMIT_MS,
        );
    });
}
