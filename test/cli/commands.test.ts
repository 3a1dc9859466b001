import { describe, expect, test } from "bun:test";
import { BINARY } from "../../lab/agent.ts";
import { run } from "../../src/system/program.ts";
import { ipmasq } from "../binary.ts";
import { Folder } from "../config/folder.ts";

/** No agent runs here, and no config is at the default path. */
const DEFAULTS =
  "ipmasq: judged by the defaults, because /etc/config/ip-masq-agent does not exist; no agent answers in /run/ipmasq\n";

describe("explain", () => {
  const explain = (words: string, input = "") =>
    run([BINARY, "explain", ...words.split(" ").filter(Boolean)], { input });

  test("prints text or JSON", async () => {
    expect(await explain("10.244.1.2 10.96.0.10 --port=53 --protocol udp")).toMatchObject({
      exitCode: 0,
      stderr: DEFAULTS,
      stdout: `10.244.1.2 to 10.96.0.10: keeps its address
  because  10.96.0.10 is in the non-masquerade CIDR 10.0.0.0/8 (default)
  rule     "cluster-local traffic" in chain IP-MASQ-AGENT
`,
    });
    const { stdout } = await explain("8.8.8.8 --output=json");
    expect(JSON.parse(stdout)).toMatchObject({ verdict: "masquerade", destination: "8.8.8.8" });
  });

  test("reads lines, and continues after an invalid one", async () => {
    const input = "10.0.0.1\n\n# a comment\nexample.com\n10.244.1.2 192.168.1.1 # another\n";
    expect(await explain("", input)).toMatchObject({
      exitCode: 1,
      stdout:
        "10.0.0.1\tkeep\t10.0.0.1 is in the non-masquerade CIDR 10.0.0.0/8 (default)\n" +
        "10.244.1.2 192.168.1.1\tkeep\t192.168.1.1 is in the non-masquerade CIDR 192.168.0.0/16 (default)\n",
      stderr: `standard input:4: "example.com" is not an IP address; write an address, because names are not resolved\n${DEFAULTS}`,
    });
  });

  test("reports that standard input is a directory", async () => {
    expect(await run(["sh", "-c", '"$0" explain </', BINARY])).toEqual({
      exitCode: 64,
      stdout: "",
      stderr: "ipmasq: cannot read standard input: Directories cannot be read like files\n",
    });
  });

  test.each([
    ["example.com", '"example.com" is not an IP address; write an address, because names are not resolved'],
    ["10.0.0.1 ::1", "10.0.0.1 and ::1 are of different families; write two addresses of one family"],
    ["10.0.0.1 10.0.0.2 10.0.0.3", 'unexpected argument "10.0.0.3"; write SRC DST or DST'],
    ["10.0.0.1 --port=0", '--port: "0" is not a port; write a number from 1 to 65535'],
    [
      "10.0.0.1 --protocol=http",
      '--protocol: "http" is not a valid value; write tcp, udp, sctp, icmp or icmpv6',
    ],
  ])("%s", async (words, message) => {
    expect(await explain(words)).toMatchObject({ exitCode: 64, stdout: "", stderr: `ipmasq: ${message}\n` });
  });
});

test("schema prints the JSON Schema", async () => {
  const { stdout } = await ipmasq(["schema"]);
  expect(JSON.parse(stdout)).toMatchObject({ type: "object", properties: { cidrLimit: {} } });
});

describe("check", () => {
  test.each([
    ["good", "cidrLimit: 5\n", [], 0, "c: no problems\n"],
    ["good", "cidrLimit: 5\n", ["--strict"], 0, "c: no problems\n"],
    [
      "odd",
      "CidrLimit: 5\n",
      [],
      0,
      'c:1:1: warning: CidrLimit: unusual capitalization; write "cidrLimit" [key-capitals]\n',
    ],
    [
      "odd",
      "CidrLimit: 5\n",
      ["--strict"],
      1,
      'c:1:1: warning: CidrLimit: unusual capitalization; write "cidrLimit" [key-capitals]\n',
    ],
    [
      "hasty",
      "resyncInterval: 500ms\n",
      [],
      0,
      'c:1:17: warning: resyncInterval: "500ms" is too short and counts as 1s; write at least 1s [interval-raised]\n',
    ],
    [
      "valid, but unwise",
      "resyncInterval: 5s\n",
      ["--strict"],
      1,
      "c:1:17: warning: resyncInterval: 5s is short: changes are applied at once without it; write at least 10s [frequent-resync]\n",
    ],
    [
      "wrong",
      "cidrLimit: 0\n",
      [],
      1,
      "c:1:12: cidrLimit: expected a positive number, found 0; write a positive whole number without quotes\n",
    ],
  ])("a %s config", async (_what, config, flags, exitCode, stdout) => {
    await using folder = await Folder.create({ c: config });
    const ended = await ipmasq(["check", `--config=${folder.path}/c`, ...flags]);
    expect(ended).toEqual({ stdout: stdout.replace("c:", `${folder.path}/c:`), stderr: "", exitCode });
  });

  test("a missing config", async () => {
    const { stdout, exitCode } = await ipmasq(["check"]);
    expect({ stdout, exitCode }).toEqual({
      stdout: "/etc/config/ip-masq-agent: does not exist, so the defaults apply\n",
      exitCode: 0,
    });
  });
});

test("check of an empty directory", async () => {
  await using folder = await Folder.create({});
  const { stdout, exitCode } = await ipmasq(["check", `--config=${folder.path}`]);
  expect({ stdout, exitCode }).toEqual({
    stdout: `${folder.path}: contains no config, so the defaults apply\n`,
    exitCode: 0,
  });
});

describe("a given path that does not exist is an error", () => {
  const LINE = "/none: does not exist; fix the path, or create the file\n";
  test.each([
    ["check", "--config=/none", 1],
    ["render", "--config=/none", 1],
    ["explain 10.1.2.3", "--config=/none", 1],
    ["diff", "--config=/none", 2],
    ["diff", "--from=/none --to=/none", 2],
    ["run --once --backend=nftables", "--config=/none", 1],
    ["status --listen=", "--config=/none", 1],
  ])("to %s %s", async (command, flag, exitCode) => {
    const ended = await ipmasq([...command.split(" "), ...flag.split(" ")]);
    expect(ended.stdout + ended.stderr).toContain(LINE);
    expect(ended.exitCode).toBe(exitCode);
  });

  test("from a variable too", async () => {
    const { stdout, exitCode } = await ipmasq(["check"], { IPMASQ_CONFIG: "/none" });
    expect([stdout, exitCode]).toEqual([LINE, 1]);
  });
});

describe("render", () => {
  test("needs neither nft nor a kernel", async () => {
    const { stdout, exitCode } = await ipmasq(["render", "--format=nft-json"], {
      PATH: "/none",
    });
    expect(exitCode).toBe(0);
    expect(JSON.parse(stdout).nftables).toHaveLength(12);
  });

  test.each([
    ["nft", "", ["ip", "ip6"]],
    ["nft", "ip", ["ip"]],
    ["nft", "ip6", ["ip6"]],
    ["nft-json", "", ["ip", "ip6"]],
    ["nft-json", "ip6", ["ip6"]],
  ])("prints as %s the family %p", async (format, family, families) => {
    const only = family === "" ? [] : [`--family=${family}`];
    const { stdout } = await ipmasq(["render", "--enable-ipv6", `--format=${format}`, ...only]);
    const pattern = format === "nft" ? /^table (ip6?) /gm : /"add":\{"table":\{"family":"(ip6?)"/g;
    expect(new Set(stdout.matchAll(pattern).map(([, found = ""]) => found))).toEqual(new Set(families));
  });

  test("a family without rules is explained", async () => {
    const { stderr, exitCode } = await ipmasq(["render", "--family=ip6"]);
    expect([stderr, exitCode]).toEqual(["ipmasq: IPv6 is not enabled; use --enable-ipv6\n", 0]);
  });

  test("prints only the problems of a config with errors", async () => {
    await using folder = await Folder.create({ c: "cidrLimit: 0\n" });
    const { stdout, stderr, exitCode } = await ipmasq(["render", `--config=${folder.path}/c`]);
    expect([stdout, exitCode]).toEqual(["", 1]);
    expect(stderr).toStartWith(`${folder.path}/c:1:12: cidrLimit: `);
  });
});
