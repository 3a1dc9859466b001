import { describe, expect, test } from "bun:test";
import { constants, open } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { BINARY } from "../../lab/agent.ts";
import { BUN_VARIABLES } from "../../src/cli/environment.ts";
import { run } from "../../src/system/program.ts";
import { ipmasq } from "../binary.ts";
import { Folder } from "../config/folder.ts";

const COMMANDS = ["run", "status", "explain", "diff", "check", "render", "cleanup", "schema", "version"];

describe("wrong usage exits with 64 and a remedy", () => {
  test.each([
    ["chekc", 'unknown command "chekc"; did you mean "check"?'],
    ["frobnicate", 'unknown command "frobnicate"; see "ipmasq --help"'],
    ["check --strcit", "unknown flag --strcit; did you mean --strict?"],
    ["--frobnicate", 'unknown flag --frobnicate; see "ipmasq --help"'],
    ["check now", 'unexpected argument "now"; `check` accepts only flags'],
    ["check --once", "--once is not a flag of `check`; use it with `run`"],
    ["run --output=json", "--output is not a flag of `run`; use it with `status`, `explain` or `version`"],
    ["resync-interval=60", 'unexpected argument "resync-interval=60"; did you mean "--resync-interval=60"?'],
    ["check masq_chain=X", 'unexpected argument "masq_chain=X"; did you mean "--masq_chain=X"?'],
    ["--enable-ipv6 true check", 'unexpected argument "true"; write --enable-ipv6=true'],
    ["--version=maybe", '--version: "maybe" is not a boolean; write true or false'],
    ["check --config", "--config needs a value; write --config=PATH"],
    ["check --config=", "--config: the path is empty; write --config=PATH"],
    ["status --runtime-dir=", "--runtime-dir: the path is empty; write --runtime-dir=PATH"],
    ["check --enable-ipv6=maybe", '--enable-ipv6: "maybe" is not a boolean; write true or false'],
    ["check --no-enable-ipv6=true", '--no-enable-ipv6 takes no value; leave out "=true"'],
    ["check --backend=ipvs", '--backend: "ipvs" is not a valid value; write auto, nftables or iptables'],
    [
      "check --log-level=trace",
      '--log-level: "trace" is not a valid value; write error, warn, info or debug',
    ],
    ["check --resync-interval=1.5", '--resync-interval: "1.5" has no unit; did you mean "1.5s"?'],
    [
      "check --to-ports=0",
      '--to-ports: "0" is not a port or a range of ports; write ports from 1 to 65535 as in "1024-29999,32768-65535"',
    ],
    ["check --masq-chain=counter", '--masq-chain: "counter" is a reserved word; choose another name'],
    ["check --masq-chain=POSTROUTING", '--masq-chain: "POSTROUTING" is a reserved word; choose another name'],
    [
      "check --masq-chain=a/b",
      '--masq-chain: "a/b" is not a valid chain name; write 1 to 28 letters, digits, "-", "_" or ".", starting with a letter or "_"',
    ],
    ['check --masq-chain="IP-MASQ"', '--masq-chain: "IP-MASQ" contains quotes; did you mean IP-MASQ?'],
    ["check --v=high", '--v: "high" is not a level; write a whole number'],
    ["render --format=xml", '--format: "xml" is not a valid value; write nft-json, nft or iptables-restore'],
  ])("ipmasq %s", async (line, message) => {
    expect(await ipmasq(line.split(" "))).toEqual({
      stdout: "",
      stderr: `ipmasq: ${message}\n`,
      exitCode: 64,
    });
  });

  test("all wrong values are reported at once", async () => {
    const { stderr } = await ipmasq(["check", "--to-ports=0", "--resync-interval=x"]);
    expect(stderr.match(/^ipmasq: --/gm)).toHaveLength(2);
  });

  test("errors in the environment name the variable", async () => {
    const environment = { IPMASQ_TO_PORTS: "x", IPMASQ_ENABLE_IPV: "true", IPMASQ_PORT: "tcp://10.0.0.1:80" };
    const { stderr, exitCode } = await ipmasq(["check"], environment);
    expect(exitCode).toBe(64);
    expect(stderr).toBe(
      'ipmasq: unknown environment variable IPMASQ_ENABLE_IPV; did you mean IPMASQ_ENABLE_IPV6?\nipmasq: IPMASQ_TO_PORTS: "x" is not a port or a range of ports; write ports from 1 to 65535 as in "1024-29999,32768-65535"\n',
    );
  });
});

test("a flag overrides the environment, which overrides the default", async () => {
  const chain = async (argv: string[], environment = {}) =>
    /chain (\S+) \{\n\t\tip daddr/.exec((await ipmasq(["render", ...argv], environment)).stdout)?.[1];
  expect(await chain([])).toBe("IP-MASQ-AGENT");
  expect(await chain([], { IPMASQ_MASQ_CHAIN: "FROM-ENV" })).toBe("FROM-ENV");
  expect(await chain(["-masq-chain=FROM-FLAG"], { IPMASQ_MASQ_CHAIN: "FROM-ENV" })).toBe("FROM-FLAG");
});

test("--help=false and --version=false have no effect", async () => {
  const { stdout: overview } = await ipmasq(["--help"]);
  const { stdout: version } = await ipmasq(["--version"]);
  for (const off of [
    "--version=false",
    "--version=0",
    "--no-version",
    "--help=F",
    "--no-help",
    "--help --help=false",
  ]) {
    expect(await ipmasq([...off.split(" "), "render"]), off).toEqual(await ipmasq(["render"]));
    expect((await ipmasq([...off.split(" "), "help"])).stdout, off).toBe(overview);
  }
  expect((await ipmasq(["--help=1"])).stdout).toBe(overview);
  expect((await ipmasq(["--version=t"])).stdout).toBe(version);
});

test.each([
  ["--resync-interval=0s", "--resync-interval"],
  ["--resync-interval=999ms", "--resync-interval"],
  ["--resync-interval=0", "--resync-interval"],
])("%s counts as 1s, with a warning", async (flag, by) => {
  const { stderr, exitCode } = await ipmasq(["check", flag]);
  expect(stderr).toMatch(
    new RegExp(`^ipmasq: ${by}: "\\w+" is too short and counts as 1s; write at least 1s\n$`),
  );
  expect(exitCode).toBe(0);
});

test("an empty list of ports means any port, from a flag and from the environment", async () => {
  const render = async (argv: string[], environment = {}) =>
    (await ipmasq(["render", ...argv], environment)).stdout;
  const none = await render([]);
  expect(await render(["--to-ports="])).toBe(none);
  expect(await render([], { IPMASQ_TO_PORTS: "" })).toBe(none);
  expect(await render(["--to-ports=80"])).not.toBe(none);
});

test.each([
  "-masq-chain=IP-MASQ-AGENT -enable-ipv6=true -nomasq-all-reserved-ranges=false -random-fully=true -to-ports= -v 2",
  "--v=2 --resync-interval=60",
  "--resync-interval=3600 --enable-ipv6=T --v=-1",
  "--to-ports=42-44,42-43",
])("accepts the arguments of ip-masq-agent's and AKS' manifests: %s", async line => {
  expect(await ipmasq(["check", ...line.split(" ")])).toMatchObject({
    stderr: "",
    exitCode: 0,
  });
});

describe("Bun's own variables", () => {
  test.each([
    [
      { BUN_OPTIONS: "--smol" },
      "environment variable BUN_OPTIONS can run other code inside the agent; unset it",
    ],
    [
      { BUN_INSPECT: "ws://127.0.0.1:6499/x" },
      "environment variable BUN_INSPECT can run other code inside the agent; unset it",
    ],
    [
      { BUN_INSPECT: "127.0.0.1:6499", BUN_INSPECT_CONNECT_TO: "unix:///none" },
      "environment variables BUN_INSPECT and BUN_INSPECT_CONNECT_TO can run other code inside the agent; unset them",
    ],
  ])("the agent does not start with %p", async (environment, message) => {
    for (const argv of [[], ["run"], ["run", "--once"]]) {
      expect(await ipmasq([...argv, "--config=/none"], environment)).toEqual({
        stdout: "",
        stderr: `ipmasq: ${message}\n`,
        exitCode: 64,
      });
    }
  });

  test("each variable has an effect unless it is empty", async () => {
    await using folder = await Folder.create({ "preload.js": "process.stderr.write('loaded\\n')" });
    const { stdout, stderr } = await ipmasq(["version"]);
    const empty = Object.fromEntries(BUN_VARIABLES.map(name => [name, ""]));
    expect(await ipmasq(["version"], empty)).toEqual({ stdout, stderr, exitCode: 0 });
    expect((await ipmasq(["--version"], { BUN_BE_BUN: "1" })).stdout).toBe(`${Bun.version}\n`);
    const preload = await ipmasq(["version"], { BUN_OPTIONS: `--preload=${folder.path}/preload.js` });
    expect(preload).toEqual({ stdout, stderr: "loaded\n", exitCode: 0 });
    const connected = Promise.withResolvers<void>();
    const open = () => connected.resolve();
    using listener = Bun.listen({ unix: `${folder.path}/socket`, socket: { open, data: () => undefined } });
    await ipmasq(["version"], { BUN_INSPECT_CONNECT_TO: `unix://${listener.unix}` });
    await connected.promise;
  });
});

test("accepts the flags that GKE sets", async () => {
  const { stdout, stderr, exitCode } = await ipmasq(
    "render --masq-chain=IP-MASQ --nomasq-all-reserved-ranges --v=2 --logtostderr=true".split(" "),
  );
  expect(exitCode).toBe(0);
  expect(stderr).toBe("ipmasq: --logtostderr: ignored; accepted for klog compatibility\n");
  expect(stdout).toContain("chain IP-MASQ {");
  expect(stdout).toContain('240.0.0.0/4 comment "--nomasq-all-reserved-ranges"');
});

describe("help", () => {
  test.each(["--help", "-h", "check -h", "help", ...COMMANDS.flatMap(it => [`${it} --help`, `help ${it}`])])(
    "%s",
    async line => {
      const { stdout, stderr, exitCode } = await ipmasq(line.split(" "));
      expect({ stderr, exitCode }).toEqual({ stderr: "", exitCode: 0 });
      expect(stdout).toMatch(/^Examples?:\n {2}ipmasq /m);
      expect(stdout.split("\n").filter(line => line.length > 80)).toEqual([]);
    },
  );

  test("the overview lists every command and every flag of the agent", async () => {
    const { stdout } = await ipmasq(["--help"]);
    for (const command of COMMANDS) expect(stdout).toMatch(new RegExp(`^ {2}${command} +\\w`, "m"));
    const flags = stdout.match(/^ {2}--[\w-]+/gm)?.map(it => it.trim());
    expect(flags).toEqual(
      "config backend enable-ipv6 masq-chain nomasq-all-reserved-ranges random-fully to-ports resync-interval listen metrics-cidr-limit log-level log-format cleanup-on-exit runtime-dir"
        .split(" ")
        .map(it => `--${it}`),
    );
  });
});

test("version", async () => {
  const { stdout } = await ipmasq(["version"]);
  expect(stdout).toMatch(/^ipmasq \d+\.\d+\.\d+ \(commit [0-9a-f]{12}(-dirty)?, Bun 1\.\d+\.\d+\)\n$/);
  expect((await ipmasq(["--version"])).stdout).toBe(stdout);
  const { version, commit, bun } = JSON.parse((await ipmasq(["version", "--output=json"])).stdout);
  expect(`ipmasq ${version} (commit ${commit}, Bun ${bun})\n`).toBe(stdout);
});

describe("explain", () => {
  const explain = (words: string, input = "") =>
    run([BINARY, "explain", ...words.split(" ").filter(Boolean)], { input });

  test("prints text or JSON", async () => {
    expect(await explain("10.244.1.2 10.96.0.10 --port=53 --protocol udp")).toMatchObject({
      exitCode: 0,
      stderr: "",
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
      stderr:
        'standard input:4: "example.com" is not an IP address; write an address, because names are not resolved\n',
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
      'c:1:1: warning: CidrLimit: the key has other capitals than usual; write "cidrLimit" [key-capitals]\n',
    ],
    [
      "odd",
      "CidrLimit: 5\n",
      ["--strict"],
      1,
      'c:1:1: warning: CidrLimit: the key has other capitals than usual; write "cidrLimit" [key-capitals]\n',
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
      "c:1:17: warning: resyncInterval: every 5s is often: changes are seen at once without it; write at least 10s [frequent-resync]\n",
    ],
    [
      "wrong",
      "cidrLimit: 0\n",
      [],
      1,
      "c:1:12: cidrLimit: expected a number of 1 or more, found 0; write a whole number of 1 or more, without quotes\n",
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
  const LINE = "/none: does not exist; correct the path, or create the file\n";
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
    expect(JSON.parse(stdout).nftables).toHaveLength(11);
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

  test("prints only the problems of a config with errors", async () => {
    await using folder = await Folder.create({ c: "cidrLimit: 0\n" });
    const { stdout, stderr, exitCode } = await ipmasq(["render", `--config=${folder.path}/c`]);
    expect([stdout, exitCode]).toEqual(["", 1]);
    expect(stderr).toStartWith(`${folder.path}/c:1:12: cidrLimit: `);
  });
});

const shell = (script: string) => run(["bash", "-c", script, BINARY]);

test("output is appended to a file", async () => {
  const file = join(tmpdir(), `ipmasq-print-${process.pid}`);
  const { stdout } = await shell(
    `echo old >${file}; $0 version >>${file} 2>>${file}; cat ${file}; rm ${file}`,
  );
  expect(stdout).toMatch(/^old\nipmasq .*\n$/);
});

test.each([
  ...["version", "help", "schema", "check", "render", "render --format=nft-json", "explain 192.0.2.1"],
  ...["diff --help", "diff --from=/dev/null --to=/dev/null", "status --listen="],
])("%s: a closed pipe is not an error, but a full disk is", async line => {
  const command = `PATH= $0 ${line}`;
  const { exitCode, stdout, stderr } = await shell(command);
  expect(await shell(`${command} | true; exit \${PIPESTATUS[0]}`)).toEqual({ exitCode, stdout: "", stderr });
  expect(await shell(`${command} >&-`)).toEqual({ exitCode, stdout: "", stderr });
  const full = await shell(`${command} >/dev/full`);
  expect(full).toMatchObject({ exitCode: stdout === "" ? exitCode : 74, stdout: "" });
  if (stdout !== "") expect(full.stderr).toMatch(/^ipmasq: cannot print: ENOSPC.*\n$/m);
});

test("status --watch ends when the disk is full", async () => {
  const full = await shell("PATH= $0 status --watch --listen= >/dev/full");
  expect(full.exitCode).toBe(74);
  expect(full.stderr).toMatch(/^ipmasq: cannot print: ENOSPC.*\n$/);
});

test("status --watch ends with 0 when standard output is closed", async () => {
  const ended = await shell("PATH= $0 status --watch --listen= --config=/none >&-");
  expect(ended).toMatchObject({ exitCode: 0, stderr: "" });
});

test.each(["text", "json"])(
  "status --watch ends with 0 when its reader closes the pipe: %s",
  async output => {
    const script = `exec 3>&1; (PATH= $0 status --watch --listen= --config=/none --output=${output}; echo "code $?" >&3) | head -1`;
    const { stdout, stderr } = await run(["bash", "-c", script, BINARY]);
    expect(stderr).toBe("");
    expect(stdout).toEndWith("code 0\n");
  },
  15_000,
);

test("a full non-blocking pipe receives the whole output", async () => {
  await using folder = await Folder.create({
    config: `cidrLimit: 9000\nnonMasqueradeCIDRs:\n${Array.from({ length: 9000 }, (_, i) => `  - 10.${i >> 8}.${i & 255}.0/24\n`).join("")}`,
  });
  const render = [BINARY, "render", `--config=${folder.path}/config`];
  const { stdout: whole } = await run(render);
  const fifo = `${folder.path}/fifo`;
  await run(["mkfifo", fifo]);
  const pipe = await open(fifo, constants.O_RDWR | constants.O_NONBLOCK);
  const child = Bun.spawn(render, { stdin: "ignore", stdout: pipe.fd, stderr: "pipe" });
  const reader = Bun.spawn(["cat", fifo], { stdin: "ignore", stdout: "pipe", stderr: "inherit" });
  const ended = child.exited.finally(() => pipe.close());
  expect(await reader.stdout.text()).toBe(whole);
  expect({ exitCode: await ended, stderr: await child.stderr.text() }).toEqual({ exitCode: 0, stderr: "" });
});
