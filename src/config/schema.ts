import * as v from "valibot";
import { Cidr } from "../net/cidr.ts";
import { parsedBy } from "../net/parse-failure.ts";
import { parseInterfaceName } from "./interface-name.ts";
import { parseResyncInterval } from "./resync-interval.ts";

/**
 * The keys of a config with what each may hold and means, `null` being a key without a value. The message of an
 * issue is always the remedy; what is wrong follows from the type, if no fault says it.
 *
 * @param enableIPv6 whether IPv6 CIDRs are allowed
 */
export function configSchema(enableIPv6: boolean) {
  const cidr = v.pipe(
    v.string('write a CIDR as in "10.0.0.0/8"'),
    v.examples(["10.0.0.0/8", "2001:db8::/32"]),
    parsedBy(text => {
      const parsed = Cidr.parse(text);
      if (enableIPv6 || "what" in parsed || parsed.family === "ip") return parsed;
      return {
        what: `"${text}" is IPv6`,
        remedy: 'set "enableIPv6: true", start the agent with --enable-ipv6, or remove it',
      };
    }),
  );
  const cidrs = v.array(cidr, 'write a list as in "[10.0.0.0/8]"');
  const flag = v.boolean("write true or false, without quotes");
  return v.strictObject({
    nonMasqueradeCIDRs: key(
      cidrs,
      "Destinations that are not masqueraded, instead of 10.0.0.0/8, 172.16.0.0/12 and 192.168.0.0/16. An empty list masquerades everything but link-local addresses.",
    ),
    masqLinkLocal: key(flag, "Masquerade 169.254.0.0/16 too. Default: false."),
    masqLinkLocalIPv6: key(flag, "Masquerade fe80::/10 too. Default: false."),
    resyncInterval: key(
      v.pipe(
        v.string(({ input }) =>
          typeof input === "number" ? `did you mean "${input}s"?` : 'write it with its unit, as in "60s"',
        ),
        v.examples(["60s", "1h30m"]),
        parsedBy(parseResyncInterval),
      ),
      "How often a full sync runs even if nothing was seen to change: a duration as Go writes it; one under 1s counts as 1s. Default: 60s.",
    ),
    cidrLimit: key(
      v.pipe(v.number(POSITIVE), v.integer(POSITIVE), v.minValue(1, POSITIVE)),
      "Most entries of each list of CIDRs: a guard against mistakes. Default: 64.",
    ),
    masqueradeCIDRs: key(
      cidrs,
      "Destinations that are masqueraded even inside a non-masquerade CIDR or a link-local range.",
    ),
    sourceCIDRs: key(cidrs, "Only connections from these sources are ever masqueraded. Default: any source."),
    nonMasqueradeSourceCIDRs: key(
      cidrs,
      "Connections from these sources are never masqueraded, whatever the other keys say. Default: none.",
    ),
    outputInterfaces: key(
      v.array(
        v.pipe(
          v.string('write the name of an interface as in "eth0"'),
          v.examples(["eth0", "eth*"]),
          parsedBy(parseInterfaceName),
        ),
        'write a list as in "[eth0]"',
      ),
      "Only connections that leave by these interfaces are ever masqueraded; a name may end in an asterisk. Default: any.",
    ),
    enableIPv6: key(flag, "Masquerade IPv6 too. The flag --enable-ipv6 beats it. Default: false."),
  });
}

const POSITIVE = "write a whole number of 1 or more, without quotes";

function key<Schema extends v.GenericSchema>(schema: Schema, description: string) {
  return v.optional(v.pipe(v.nullable(schema), v.description(description)));
}
