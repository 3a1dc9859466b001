import { expect, test } from "bun:test";
import { connectionsSection } from "../../src/observe/connections-page.ts";

test("destinations are rows, and doubts are named", () => {
  const row = {
    family: "ip",
    kept: 1234,
    masqueraded: 2,
    node: 0,
    tcp: 1000,
    udp: 236,
    other: 0,
    stale: 1,
  } as const;
  const { text } = connectionsSection({
    policyFrom: "agent",
    judgedBy: "the policy of this agent",
    table: { entries: 1300, limit: 262144 },
    cidrs: [
      { ...row, cidr: "10.0.0.0/8", verdict: "keep", origin: { file: "<config>", line: 2, column: 5 } },
      { ...row, verdict: "masquerade" },
    ],
    stale: { tcp: 1, udp: 0, other: 1 },
    overruled: 0,
    undecided: { service: 0, mark: 0, interface: 3 },
    exempt: { node: 5, group: 0, hairpin: 0, zone: 0, ended: 0 },
  });
  expect(text).toContain(
    '<td><code>10.0.0.0/8</code></td><td data-label="Verdict">keep</td><td class="n" data-label="Kept">1,234</td><td class="n" data-label="Masqueraded">2</td>',
  );
  expect(text).toContain('<td data-label="Defined in">&lt;config&gt;:2</td>');
  expect(text).toContain("<td>all other IPv4</td>");
  expect(text).toContain(
    "<dt>Stale</dt><dd>2 connections contradict the policy (1 TCP, 1 other); list them with ipmasq connections --stale</dd>",
  );
  expect(text).toContain("<dt>Undecided</dt><dd>3 kept, by an unknown interface</dd>");
  expect(text).toContain("<dt>Exempt</dt><dd>5 to the node itself</dd>");
  expect(text).not.toContain("Overruled");
});
