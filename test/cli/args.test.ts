import { expect, test } from "bun:test";
import { parseArgs } from "../../src/cli/args.ts";
import { withEnvironment } from "../../src/cli/environment.ts";
import { AGENT_FLAGS, KLOG_FLAGS } from "../../src/cli/flags.ts";

const table = { ...AGENT_FLAGS, ...KLOG_FLAGS };

/** The parsed command line: `flag=text`, positional arguments and warnings, or the error. */
function parse(line: string, environment: Record<string, string> = {}): string {
  try {
    const args = parseArgs(line === "" ? [] : line.split(" "), table);
    const { flags, warnings } = withEnvironment(args.flags, environment);
    const values = [...flags].map(([name, { text }]) => `${name}=${text}`);
    return [...values, ...args.positionals, ...warnings].join(" | ");
  } catch (error) {
    return `${error}`;
  }
}

test("every way to write a flag", () => {
  expect(parse("--config=/a")).toBe("config=/a");
  expect(parse("--config /a")).toBe("config=/a");
  expect(parse("-config /a")).toBe("config=/a");
  expect(parse("-c /a")).toBe("config=/a");
  expect(parse("-c=/a")).toBe("config=/a");
  expect(parse("-masq-chain=IP-MASQ")).toBe("masq-chain=IP-MASQ");
  expect(parse("--masq_chain=IP-MASQ")).toBe("masq-chain=IP-MASQ");
  expect(parse("--config=")).toBe("config=");
  expect(parse("--config=a=b")).toBe("config=a=b");
  expect(parse("--config=/a --config=/b")).toBe("config=/b");
  expect(parse("-v=4")).toBe("v=4");
  expect(parse("-v 4")).toBe("v=4");
  expect(parse("--to-ports=")).toBe("to-ports=");
});

test("every way to write a switch", () => {
  expect(parse("--enable-ipv6")).toBe("enable-ipv6=true");
  expect(parse("--enable-ipv6=false")).toBe("enable-ipv6=false");
  expect(parse("--no-enable-ipv6")).toBe("enable-ipv6=false");
  expect(parse("-enable-ipv6=true")).toBe("enable-ipv6=true");
  expect(parse("--nomasq-all-reserved-ranges")).toBe("nomasq-all-reserved-ranges=true");
  expect(parse("--no-nomasq-all-reserved-ranges")).toBe("nomasq-all-reserved-ranges=false");
});

test("flags may stand before and after the command", () => {
  expect(parse("--enable-ipv6 check --config /a")).toBe("enable-ipv6=true | config=/a | check");
  expect(parse("run -- --enable-ipv6")).toBe("run | --enable-ipv6");
});

test("the flags that GKE sets", () => {
  expect(parse("--masq-chain=IP-MASQ --nomasq-all-reserved-ranges --v=2 --logtostderr=true")).toBe(
    "masq-chain=IP-MASQ | nomasq-all-reserved-ranges=true | v=2 | logtostderr=true",
  );
});

test("accepts each flag of klog and component-base in both spellings", () => {
  const klog =
    "-add_dir_header -alsologtostderr -alsologtostderrthreshold=0 -legacy_stderr_threshold_behavior=false -log_backtrace_at=:0 -log_dir= -log_file= -log_file_max_size=1800 -logtostderr -one_output -skip_headers -skip_log_headers -stderrthreshold=2 -v=8 -vmodule=";
  const componentBase =
    "--log-flush-frequency=5s --logging-format=text --log-json-info-buffer-size=0 --log-json-split-stream --log-text-info-buffer-size=1Ki --log-text-split-stream=false";
  for (const line of [klog, klog.replaceAll(/ -/g, " --").replaceAll("_", "-"), componentBase]) {
    expect(parse(line).split(" | ")).toHaveLength(line.split(" ").length);
  }
});

test.each(["true", "false", "1", "F", "TRUE"])("a switch does not take the next argument, %s", word => {
  expect(parse(`--enable-ipv6 ${word}`)).toBe(
    `UsageError: unexpected argument "${word}"; write --enable-ipv6=${word}`,
  );
});

test("errors name the flag and a remedy", () => {
  expect(parse("--enable-ipv")).toBe("UsageError: unknown flag --enable-ipv; did you mean --enable-ipv6?");
  expect(parse("--zzzzzzzzz")).toBe('UsageError: unknown flag --zzzzzzzzz; see "ipmasq --help"');
  expect(parse("--no-config")).toStartWith("UsageError: unknown flag --no-config; did you mean --config?");
  expect(parse("--config")).toBe("UsageError: --config needs a value; write --config=PATH");
  expect(parse("--no-enable-ipv6=true")).toBe(
    'UsageError: --no-enable-ipv6 takes no value; leave out "=true"',
  );
});

test("a flag overrides its environment variable", () => {
  expect(parse("", { IPMASQ_ENABLE_IPV6: "true" })).toBe("enable-ipv6=true");
  expect(parse("--config=/a", { IPMASQ_CONFIG: "/b" })).toBe("config=/a");
  expect(parse("", { IPMASQ_ENABLE_IPV: "1" })).toBe(
    "unknown environment variable IPMASQ_ENABLE_IPV; did you mean IPMASQ_ENABLE_IPV6?",
  );
  // set by kubelet if a Service is named ipmasq
  expect(
    parse("", {
      IPMASQ_SERVICE_HOST: "10.0.0.1",
      IPMASQ_PORT: "tcp://10.0.0.1:80",
      IPMASQ_PORT_80_TCP: "x",
    }),
  ).toBe("");
});
