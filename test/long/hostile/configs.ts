import fc from "fast-check";

/**
 * Malicious and mistaken configs: nearly valid ones, text that is cut and recombined, and random bytes, up to slightly
 * more than 4 MiB.
 */
export function configs(count: number, seed: number): Uint8Array[] {
  const distinct = new Map<string, Uint8Array>();
  for (let more = 0; distinct.size < count; more++) {
    const drawn = fc.sample(bytes, { seed: seed + more, numRuns: count });
    for (const it of drawn) if (distinct.size < count) distinct.set(Bun.hash(it).toString(), it);
  }
  return [...distinct.values()];
}

const KEYS = {
  nonMasqueradeCIDRs: "cidrs",
  masqueradeCIDRs: "cidrs",
  sourceCIDRs: "cidrs",
  nonMasqueradeSourceCIDRs: "cidrs",
  outputInterfaces: "interfaces",
  nonMasqueradeMarks: "marks",
  foreignMasqueradeMarks: "marks",
  enforceNonMasquerade: "boolean",
  snatAddresses: "cidrs",
  dropLeaks: "boolean",
  masqLinkLocal: "boolean",
  masqLinkLocalIPv6: "boolean",
  enableIPv6: "boolean",
  resyncInterval: "duration",
  cidrLimit: "number",
} as const;

const ipv4 = fc.tuple(fc.nat(0xffffffff), fc.nat(32)).map(([address, length]) => {
  const block = length === 0 ? 0 : Math.floor(address / 2 ** (32 - length)) * 2 ** (32 - length);
  return `${[24, 16, 8, 0].map(bits => Math.floor(block / 2 ** bits) % 256).join(".")}/${length}`;
});
const rightCidr = fc.oneof(
  { weight: 4, arbitrary: ipv4 },
  { weight: 1, arbitrary: fc.constantFrom("10.0.0.0/8", "2001:db8::/32", "::/0", "fd00::/8", "0.0.0.0/0") },
);
const wrongCidr = fc.oneof(
  fc.constantFrom("10.0.0.1/8", "10.0.0.0", "10.0.0/8", "010.0.0.0/8", "10.0.0.0/33", "::ffff:10.0.0.0/104"),
  fc.constantFrom(
    "fe80::%eth0/64",
    " 10.0.0.0/8",
    "10.0.0.0/8 ",
    "10.0.0.0/08",
    "1.2.3.4/-1",
    "/",
    "",
    "０.0.0.0/0",
  ),
  fc.tuple(fc.ipV6(), fc.integer({ min: -1, max: 200 })).map(([address, length]) => `${address}/${length}`),
  fc.string({ unit: "binary", maxLength: 40 }),
);
const VALUES = {
  cidrs: fc.oneof(
    { weight: 6, arbitrary: fc.array(rightCidr, { maxLength: 6 }) },
    { weight: 2, arbitrary: fc.array(fc.oneof(rightCidr, wrongCidr), { maxLength: 6 }) },
    { weight: 1, arbitrary: fc.array(rightCidr, { minLength: 60, maxLength: 500 }) },
  ),
  interfaces: fc.array(
    fc.oneof(fc.constantFrom("eth0", "eth*", "*", "", "cali+"), fc.string({ maxLength: 20 })),
    { maxLength: 3 },
  ),
  marks: fc.array(
    fc.oneof(
      fc.constantFrom<unknown>("0x200/0x200", "0x200", 512, "0", "0x300/0x200", "4294967296"),
      fc.string(),
    ),
    { maxLength: 3 },
  ),
  boolean: fc.constantFrom<unknown>(true, false, "true", "yes", 1, null),
  duration: fc.oneof(
    fc.constantFrom<unknown>("60s", "1h30m", "1.5h", "2m500ms", "0s", "-1s", 60, "1e9h", "9".repeat(400)),
    fc.string({ maxLength: 10 }),
  ),
  number: fc.oneof(
    fc.integer(),
    fc.double(),
    fc.constantFrom<unknown>(64, 5000, "64", null, Number.MAX_VALUE),
  ),
};

/** A key with a value that usually fits; sometimes with any value or a wrong name. */
const entry = fc
  .tuple(
    fc.constantFrom(...(Object.keys(KEYS) as (keyof typeof KEYS)[])),
    fc.nat(20),
    fc.string({ maxLength: 12 }),
  )
  .chain(([key, luck, name]) => {
    const value: fc.Arbitrary<unknown> = luck === 0 ? fc.jsonValue({ maxDepth: 6 }) : VALUES[KEYS[key]];
    const written = luck === 1 ? key.toUpperCase() : luck === 2 ? `${key}${name}` : key;
    return value.map(it => [written, it] as const);
  });

/** Valid configs. */
const cidrs = fc.array(rightCidr, { maxLength: 20 });
const right = fc.record(
  {
    nonMasqueradeCIDRs: cidrs,
    masqueradeCIDRs: cidrs,
    sourceCIDRs: cidrs,
    nonMasqueradeSourceCIDRs: cidrs,
    outputInterfaces: fc.array(fc.constantFrom("eth0", "eth*", "cali*", "wg-1"), {
      minLength: 1,
      maxLength: 3,
    }),
    foreignMasqueradeMarks: fc.array(fc.constantFrom("0x8000/0x8000"), { maxLength: 1 }),
    enforceNonMasquerade: fc.boolean(),
    nonMasqueradeMarks: fc.array(fc.constantFrom("0x200/0x200", "0x10"), { maxLength: 2 }),
    snatAddresses: cidrs,
    masqLinkLocal: fc.boolean(),
    masqLinkLocalIPv6: fc.boolean(),
    resyncInterval: fc.constantFrom("60s", "5m", "1h30m"),
    cidrLimit: fc.integer({ min: 64, max: 5000 }),
  },
  { requiredKeys: [] },
);
const entries = fc.oneof(
  fc.array(entry, { maxLength: 5 }),
  right.map(it => Object.entries<unknown>(it)),
);

const text = fc.tuple(entries, fc.constantFrom("block", "flow", "json")).map(([all, style]) => {
  if (style === "block") return all.map(([key, value]) => block(key, value)).join("");
  const flow = all.map(
    ([key, value]) => `${style === "json" ? JSON.stringify(key) : key}: ${JSON.stringify(value)}`,
  );
  return `{${flow.join(", ")}}\n`;
});

function block(key: string, value: unknown): string {
  if (!Array.isArray(value)) return `${key}: ${JSON.stringify(value)}\n`;
  if (value.length === 0) return `${key}: []\n`;
  return `${key}:\n${value.map(it => `  - ${typeof it === "string" ? it : JSON.stringify(it)}\n`).join("")}`;
}

/** Texts with a meaning in YAML, for a terminal, or when text is split into lines. */
const NASTY = [
  ..."[]{}&*!|>'\"%@`#?:-,\t\r\n\\",
  ...[
    "---\n",
    "...\n",
    "%YAML 1.2\n",
    "{{ a }}",
    "# ipmasq: allow a, b\n",
    "\u00a0",
    "\u200b",
    "&a ",
    "*a ",
    "<<: *a\n",
    "!!binary ",
    "!!js/function ",
    "? [a]\n: b\n",
  ],
  ...[
    "\0",
    "\u001b[31m",
    "\u0085",
    "\u2028",
    "\uFEFF",
    "\u202E",
    "😀",
    "設定",
    "- - - - ",
    "a: ",
    "{a: ",
    "[[",
  ],
];

/** A change to a text: a part is removed, repeated many times, or replaced by a malicious text. */
const mutation = fc
  .tuple(
    fc.double({ min: 0, max: 1, noNaN: true }),
    fc.nat(40),
    fc.constantFrom(...NASTY, ""),
    fc.constantFrom(1, 1, 1, 2, 50, 3000),
  )
  .map(([place, length, nasty, times]) => (before: string) => {
    const at = Math.floor(place * before.length);
    const cut = nasty === "" ? before.slice(at, at + length) : nasty;
    return (
      before.slice(0, at) + cut.repeat(nasty === "" && times === 1 ? 0 : times) + before.slice(at + length)
    );
  });
const mutated = fc
  .tuple(text, fc.array(mutation, { minLength: 1, maxLength: 5 }))
  .map(([before, all]) => all.reduce((it, change) => change(it), before));

const MIB = 1024 * 1024;
const huge = fc
  .tuple(
    text,
    fc.constantFrom(...NASTY, "nonMasqueradeCIDRs:\n- 10.0.0.0/8\n", "- 10.0.0.0/8\n"),
    fc.constantFrom(0.5, 3.9, 4.1),
  )
  .map(([head, unit, mib]) => head + unit.repeat((mib * MIB) / Buffer.byteLength(unit)));

const bytes: fc.Arbitrary<Uint8Array> = fc.oneof(
  { weight: 40, arbitrary: text.map(it => Buffer.from(it)) },
  { weight: 40, arbitrary: mutated.map(it => Buffer.from(it)) },
  { weight: 5, arbitrary: text.map(it => Buffer.from(`\uFEFF${it}`, "utf16le")) },
  { weight: 5, arbitrary: mutated.map(it => Buffer.from(it, "latin1")) },
  { weight: 5, arbitrary: fc.uint8Array({ maxLength: 2000 }) },
  { weight: 1, arbitrary: huge.map(it => Buffer.from(it)) },
);
