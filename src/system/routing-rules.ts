import { NETLINK_ROUTE, NLM_F_REQUEST } from "./libc.ts";

/**
 * Whether IPv6 has rules of policy routing, so that tables other than local and main can decide about routes. Asks
 * rtnetlink, because /proc shows neither these rules nor the table of a route. Undefined if the kernel cannot be asked,
 * always without the JIT.
 */
export async function hasRoutingRules(): Promise<boolean | undefined> {
  try {
    const { NetlinkSocket } = await import("./netlink.ts");
    using socket = await NetlinkSocket.open(NETLINK_ROUTE);
    if (!socket.send(REQUEST)) return undefined;
    const answer = new DataView(new ArrayBuffer(MOST_BYTES));
    for (let has = false; ; ) {
      const length = socket.receive(answer);
      if (length < HEADER) return undefined;
      const { isLast, rules } = messagesOf(answer, length);
      has ||= rules.some(({ action, table }) => action !== FR_ACT_TO_TBL || !USUAL.has(table));
      if (isLast !== undefined) return isLast === "done" ? has : undefined;
    }
  } catch {
    return undefined;
  }
}

interface Rule {
  readonly action: number;
  readonly table: number;
}

interface Messages {
  readonly rules: readonly Rule[];
  readonly isLast: "done" | "failed" | undefined;
}

/** The rules in a datagram. */
function messagesOf(answer: DataView, length: number): Messages {
  const rules: Rule[] = [];
  for (let at = 0; at + HEADER <= length; ) {
    const size = answer.getUint32(at, true);
    const type = answer.getUint16(at + 4, true);
    if (type === NLMSG_DONE) return { rules, isLast: "done" };
    if (type !== RTM_NEWRULE || size < HEADER + RULE) return { rules, isLast: "failed" };
    rules.push({ table: answer.getUint8(at + HEADER + 4), action: answer.getUint8(at + HEADER + 7) });
    at += Math.ceil(size / 4) * 4;
  }
  return { rules, isLast: undefined };
}

/** From linux/netlink.h, linux/rtnetlink.h and linux/fib_rules.h. */
const NLMSG_DONE = 3;
const RTM_NEWRULE = 32;
const RTM_GETRULE = 34;
const NLM_F_DUMP = 0x300;
const AF_INET6 = 10;
const FR_ACT_TO_TBL = 1;
/** The tables main and local. Numbers above 255 are sent as 252, and VRFs as 0. */
const USUAL: ReadonlySet<number> = new Set([254, 255]);
/** The length of nlmsghdr and of fib_rule_hdr, in bytes. */
const HEADER = 16;
const RULE = 12;
/** The kernel sends dumps in pieces of 32 KiB at most. */
const MOST_BYTES = 64 * 1024;

const REQUEST = (() => {
  const message = Buffer.alloc(HEADER + RULE);
  message.writeUInt32LE(message.length, 0);
  message.writeUInt16LE(RTM_GETRULE, 4);
  message.writeUInt16LE(NLM_F_REQUEST | NLM_F_DUMP, 6);
  message.writeUInt8(AF_INET6, HEADER);
  return message;
})();
