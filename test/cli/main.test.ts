import { describe, expect, test } from "bun:test";
import { BINARY } from "../../lab/agent.ts";
import { COMMANDS as ALL } from "../../src/cli/commands.ts";
import { BUN_VARIABLES } from "../../src/cli/environment.ts";
import { run } from "../../src/system/program.ts";
import { ipmasq } from "../binary.ts";
import { Folder } from "../config/folder.ts";

const COMMANDS = ALL.map(({ name }) => name);

describe("wrong usage exits with 64 and a remedy", () => {
  test.each([
    ["chekc", 'unknown command "chekc"; did you mean "check"?'],
    ["frobnicate", 'unknown command "frobnicate"; see "ipmasq --help"'],
    ["check --strcit", "unknown flag --strcit; did you mean --strict?"],
    ["--frobnicate", 'unknown flag --frobnicate; see "ipmasq --help"'],
    ["check -w", "unknown flag -w; did you mean --watch, a flag of other commands?"],
    ["status -w", "unknown flag -w; did you mean --watch?"],
    ["check --outptu=json", "unknown flag --outptu; did you mean --output, a flag of other commands?"],
    ["status --wacth", "unknown flag --wacth; did you mean --watch?"],
    ["-x", 'unknown flag -x; see "ipmasq --help"'],
    ["verify --frobnicate", 'unknown flag --frobnicate; see "ipmasq verify --help"'],
    ["--frobnicate=1 verify", 'unknown flag --frobnicate; see "ipmasq verify --help"'],
    [
      "check -o json",
      "-o is not a flag of `check`; use it with `status`, `connections`, `explain`, `verify`, `test` or `version`",
    ],
    ["check now", 'unexpected argument "now"; `check` accepts only flags'],
    ["check --once", "--once is not a flag of `check`; use it with `run`"],
    [
      "run --output=json",
      "--output is not a flag of `run`; use it with `status`, `connections`, `explain`, `verify`, `test` or `version`",
    ],
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
      '--to-ports: "0" is not a port or port range; write ports from 1 to 65535, for example "1024-29999,32768-65535"',
    ],
    ["check --masq-chain=counter", '--masq-chain: "counter" is a reserved word; choose another name'],
    ["check --masq-chain=POSTROUTING", '--masq-chain: "POSTROUTING" is a reserved word; choose another name'],
    [
      "check --masq-chain=a/b",
      '--masq-chain: "a/b" is not a valid chain name; write 1 to 28 letters, digits, "-", "_" or ".", starting with a letter or "_"',
    ],
    ['check --masq-chain="IP-MASQ"', '--masq-chain: "IP-MASQ" contains quotes; did you mean IP-MASQ?'],
    ["check --v=high", '--v: "high" is not a level; write a whole number'],
    [
      "explain --out=eth* 8.8.8.8",
      '--out: "eth*" is a prefix; write the name of one interface, such as "eth0"',
    ],
    [
      "explain --out=!eth0 8.8.8.8",
      '--out: "!eth0" excludes an interface; write the name of one interface, such as "eth0"',
    ],
    [
      "explain --out=a/b 8.8.8.8",
      '--out: "a/b" is not an interface name; write the name of one interface, such as "eth0"',
    ],
    ["render --format=xml", '--format: "xml" is not a valid value; write nft, nft-json or iptables-restore'],
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
      'ipmasq: unknown environment variable IPMASQ_ENABLE_IPV; did you mean IPMASQ_ENABLE_IPV6?\nipmasq: IPMASQ_TO_PORTS: "x" is not a port or port range; write ports from 1 to 65535, for example "1024-29999,32768-65535"\n',
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
  test.each([
    "--help",
    "-h",
    "check -h",
    "help",
    "help flags",
    ...COMMANDS.flatMap(it => [`${it} --help`, `help ${it}`]),
  ])("%s", async line => {
    const { stdout, stderr, exitCode } = await ipmasq(line.split(" "));
    expect({ stderr, exitCode }).toEqual({ stderr: "", exitCode: 0 });
    expect(stdout).toMatch(/^Examples?:\n {2}ipmasq /m);
    expect(stdout.split("\n").filter(line => line.length > 80)).toEqual([]);
  });

  test("lines fit a narrow terminal", async () => {
    const help = `stty cols 60; ${BINARY} connections --help`;
    const { stdout } = await run(["script", "--quiet", "--return", "--command", help, "/dev/null"]);
    const lines = stdout.split(/\r?\n/);
    expect(lines[0]).toBe("Shows the node's live connections by destination CIDR: how");
    expect(lines.filter(line => line.length > 60)).toEqual([]);
  });

  test("the overview lists every command", async () => {
    const { stdout } = await ipmasq(["--help"]);
    for (const command of COMMANDS) expect(stdout).toMatch(new RegExp(`^ {2}${command} +\\w`, "m"));
  });

  test.each(["help flags", "run --help"])("%s lists every flag of the agent", async line => {
    const { stdout } = await ipmasq(line.split(" "));
    const [, listed] = stdout.split("Flags of the agent:");
    const flags = listed?.match(/^ {2}(-c, )?--[\w-]+/gm)?.map(it => it.trim().replace("-c, ", ""));
    expect(flags).toEqual(
      "config backend enable-ipv6 masq-chain nomasq-all-reserved-ranges random-fully to-ports resync-interval listen metrics-cidr-limit log-level log-format node-name cleanup-on-exit runtime-dir"
        .split(" ")
        .map(it => `--${it}`),
    );
  });
});

describe("without a command", () => {
  const onTerminal = (command: string) =>
    run(["script", "--quiet", "--return", "--command", command, "/dev/null"]);

  test("on a terminal it prints the overview, and does not start the agent", async () => {
    const { stdout, exitCode } = await onTerminal(BINARY);
    const { stdout: overview } = await ipmasq(["--help"]);
    const note = "ipmasq: to start the agent, write: ipmasq run\n";
    expect({ stdout: stdout.replaceAll("\r", ""), exitCode }).toEqual({
      stdout: note + overview,
      exitCode: 0,
    });
  });

  test("on a terminal, flags alone are wrong usage", async () => {
    const { stdout, exitCode } = await onTerminal(`${BINARY} --config=/none --enable-ipv6`);
    expect(stdout).toContain(
      "ipmasq: to start the agent, write: ipmasq run --config=/none --enable-ipv6\r\n",
    );
    expect(exitCode).toBe(64);
  });
});

test("version", async () => {
  const { stdout } = await ipmasq(["version"]);
  expect(stdout).toMatch(/^ipmasq \d+\.\d+\.\d+ \(commit [0-9a-f]{12}(-dirty)?, Bun 1\.\d+\.\d+\)\n$/);
  expect((await ipmasq(["--version"])).stdout).toBe(stdout);
  const { version, commit, bun } = JSON.parse((await ipmasq(["version", "--output=json"])).stdout);
  expect(`ipmasq ${version} (commit ${commit}, Bun ${bun})\n`).toBe(stdout);
});
