import { expect, test } from "bun:test";
import { sortWords, withEnvironment } from "../../src/cli/args.ts";
import { AGENT_FLAGS, KLOG_FLAGS } from "../../src/cli/flags.ts";

const table = { ...AGENT_FLAGS, ...KLOG_FLAGS };

/** The words sorted, as `flag=text` and plain words; or the error. */
function sorted(line: string, environment: Record<string, string> = {}): string {
  try {
    const words = line === "" ? [] : line.split(" ");
    const { flags, others, warnings } = withEnvironment(sortWords(words, table), environment);
    return [...[...flags].map(([name, { text }]) => `${name}=${text}`), ...others, ...warnings].join(" | ");
  } catch (error) {
    return `${error}`;
  }
}

test("every way to write a flag", () => {
  expect(sorted("--config=/a")).toBe("config=/a");
  expect(sorted("--config /a")).toBe("config=/a");
  expect(sorted("-config /a")).toBe("config=/a");
  expect(sorted("-masq-chain=IP-MASQ")).toBe("masq-chain=IP-MASQ");
  expect(sorted("--masq_chain=IP-MASQ")).toBe("masq-chain=IP-MASQ");
  expect(sorted("--config=")).toBe("config=");
  expect(sorted("--config=a=b")).toBe("config=a=b");
  expect(sorted("--config=/a --config=/b")).toBe("config=/b");
  expect(sorted("-v=4")).toBe("v=4");
  expect(sorted("-v 4")).toBe("v=4");
  expect(sorted("--to-ports=")).toBe("to-ports=");
});

test("every way to write a switch", () => {
  expect(sorted("--enable-ipv6")).toBe("enable-ipv6=true");
  expect(sorted("--enable-ipv6=false")).toBe("enable-ipv6=false");
  expect(sorted("--no-enable-ipv6")).toBe("enable-ipv6=false");
  expect(sorted("-enable-ipv6=true")).toBe("enable-ipv6=true");
  expect(sorted("--nomasq-all-reserved-ranges")).toBe("nomasq-all-reserved-ranges=true");
  expect(sorted("--no-nomasq-all-reserved-ranges")).toBe("nomasq-all-reserved-ranges=false");
});

test("flags before and behind the command", () => {
  expect(sorted("--enable-ipv6 check --config /a")).toBe("enable-ipv6=true | config=/a | check");
  expect(sorted("run -- --enable-ipv6")).toBe("run | --enable-ipv6");
});

test("GKE's flags", () => {
  expect(sorted("--masq-chain=IP-MASQ --nomasq-all-reserved-ranges --v=2 --logtostderr=true")).toBe(
    "masq-chain=IP-MASQ | nomasq-all-reserved-ranges=true | v=2 | logtostderr=true",
  );
});

test("every flag of klog and component-base, spelled either way, as ip-masq-agent takes it", () => {
  const klog =
    "-add_dir_header -alsologtostderr -alsologtostderrthreshold=0 -legacy_stderr_threshold_behavior=false -log_backtrace_at=:0 -log_dir= -log_file= -log_file_max_size=1800 -logtostderr -one_output -skip_headers -skip_log_headers -stderrthreshold=2 -v=8 -vmodule=";
  const componentBase =
    "--log-flush-frequency=5s --logging-format=text --log-json-info-buffer-size=0 --log-json-split-stream --log-text-info-buffer-size=1Ki --log-text-split-stream=false";
  for (const line of [klog, klog.replaceAll(/ -/g, " --").replaceAll("_", "-"), componentBase]) {
    expect(sorted(line).split(" | ")).toHaveLength(line.split(" ").length);
  }
});

test.each(["true", "false", "1", "F", "TRUE"])("a switch does not take the next word, %s", word => {
  expect(sorted(`--enable-ipv6 ${word}`)).toBe(
    `UsageError: unexpected argument "${word}"; write --enable-ipv6=${word}`,
  );
});

test("what cannot be understood", () => {
  expect(sorted("--enable-ipv")).toBe("UsageError: unknown flag --enable-ipv; did you mean --enable-ipv6?");
  expect(sorted("--zzzzzzzzz")).toBe('UsageError: unknown flag --zzzzzzzzz; see "ipmasq --help"');
  expect(sorted("--no-config")).toStartWith("UsageError: unknown flag --no-config; did you mean --config?");
  expect(sorted("--config")).toBe("UsageError: --config needs a value; write --config=PATH");
  expect(sorted("--no-enable-ipv6=true")).toBe(
    'UsageError: --no-enable-ipv6 takes no value; leave out "=true"',
  );
});

test("the environment stands behind the flags", () => {
  expect(sorted("", { IPMASQ_ENABLE_IPV6: "true" })).toBe("enable-ipv6=true");
  expect(sorted("--config=/a", { IPMASQ_CONFIG: "/b" })).toBe("config=/a");
  expect(sorted("", { IPMASQ_ENABLE_IPV: "1" })).toBe(
    "environment: IPMASQ_ENABLE_IPV is not known; did you mean IPMASQ_ENABLE_IPV6?",
  );
  // kubelet's own, where a Service is named ipmasq
  expect(
    sorted("", {
      IPMASQ_SERVICE_HOST: "10.0.0.1",
      IPMASQ_PORT: "tcp://10.0.0.1:80",
      IPMASQ_PORT_80_TCP: "x",
    }),
  ).toBe("");
});
