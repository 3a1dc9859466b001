import type { Family } from "../net/cidr.ts";
import { messageOf } from "../system/errors.ts";
import { NLM_F_REQUEST } from "../system/libc.ts";
import { NetlinkSocket } from "../system/netlink.ts";
import { type FailureKind, ProgramError } from "../system/program.ts";
import { type Entry, hasPorts, ICMP, ICMPV6, type Tuple } from "./entry.ts";

/**
 * Deletes entries of the kernel's conntrack table over netlink.
 *
 * The program `conntrack` deletes an entry by listing the whole table: with 250,000 entries, each deletion takes 0.7 s
 * of CPU (conntrack 1.4.7, kernel 6.18). Over netlink the kernel finds the entry by its addresses, in 10 µs.
 */
export class EntryDeleter implements Disposable {
  readonly #socket: NetlinkSocket;
  readonly #answer = new DataView(new ArrayBuffer(1024));
  #sequence = 0;

  private constructor(socket: NetlinkSocket) {
    this.#socket = socket;
  }

  /** Opens a netlink socket. Throws ProgramError. */
  static async open(): Promise<EntryDeleter> {
    const socket = await NetlinkSocket.open(NETLINK_NETFILTER).catch((error: unknown) => {
      throw failed("unsupported", messageOf(error), "enable Bun's JIT: unset BUN_JSC_useJIT");
    });
    return new EntryDeleter(socket);
  }

  /**
   * Deletes an entry of zone 0. The kernel compares the identity, so that a newer connection with the same addresses
   * stays.
   *
   * @returns false if the entry no longer exists
   * @throws ProgramError
   */
  delete(entry: Entry): boolean {
    if (!this.#socket.send(deletion(entry, ++this.#sequence)))
      throw failed("refused", "the kernel does not accept the request");
    if (this.#socket.receive(this.#answer) < ERROR_AT + 4)
      throw failed("timed-out", "the kernel does not answer");
    const error = -this.#answer.getInt32(ERROR_AT, true);
    if (error === EPERM) throw failed("not-permitted", "Operation not permitted");
    if (error !== 0 && error !== ENOENT) throw failed("refused", `the kernel returns error ${error}`);
    return error === 0;
  }

  [Symbol.dispose](): void {
    this.#socket[Symbol.dispose]();
  }
}

function failed(kind: FailureKind, what: string, remedy?: string): ProgramError {
  const privilege = kind === "not-permitted" ? "run as root, or with the capability NET_ADMIN" : "";
  return new ProgramError(kind, "delete conntrack entries", what, remedy ?? privilege);
}

/** From linux/netlink.h. */
const NETLINK_NETFILTER = 12;
const NLM_F_ACK = 4;
const NLA_F_NESTED = 0x8000;
/** The offset of the error in the answer, after its header: nlmsgerr. */
const ERROR_AT = 16;
const EPERM = 1;
const ENOENT = 2;
/** From linux/netfilter/nfnetlink.h and nfnetlink_conntrack.h: IPCTNL_MSG_CT_DELETE of NFNL_SUBSYS_CTNETLINK. */
const CT_DELETE = (1 << 8) | 2;
const CTA_TUPLE_ORIG = 1;
const CTA_ID = 12;
const CTA_TUPLE_IP = 1;
const CTA_TUPLE_PROTO = 2;
const CTA_PROTO_NUM = 1;
const PROTOCOL_FAMILY = { ip: 2, ip6: 10 } as const satisfies Record<Family, number>;
/** Attributes of addresses (CTA_IP_*) and of ICMP's fields (CTA_PROTO_*): identifier, type, code. */
const ADDRESS_ATTRIBUTES = { ip: [1, 2], ip6: [3, 4] } as const;
const ICMP_ATTRIBUTES = { [ICMP]: [4, 5, 6], [ICMPV6]: [7, 8, 9] } as const;
const [CTA_PROTO_SRC_PORT, CTA_PROTO_DST_PORT] = [2, 3];

/** The netlink message that deletes an entry. */
export function deletion({ family, protocol, original, id }: Entry, sequence: number): Uint8Array {
  const [source, destination] = ADDRESS_ATTRIBUTES[family];
  const addresses = Buffer.concat([
    attribute(source, addressBytes(family, original.source)),
    attribute(destination, addressBytes(family, original.destination)),
  ]);
  const body = Buffer.concat([
    Buffer.from([PROTOCOL_FAMILY[family], 0, 0, 0]), // nfgenmsg
    attribute(
      CTA_TUPLE_ORIG | NLA_F_NESTED,
      Buffer.concat([
        attribute(CTA_TUPLE_IP | NLA_F_NESTED, addresses),
        attribute(CTA_TUPLE_PROTO | NLA_F_NESTED, protocolAttributes(protocol, original)),
      ]),
    ),
    ...(id === undefined ? [] : [attribute(CTA_ID, number(id, 4))]),
  ]);
  const header = Buffer.alloc(16);
  header.writeUInt32LE(header.length + body.length, 0);
  header.writeUInt16LE(CT_DELETE, 4);
  header.writeUInt16LE(NLM_F_REQUEST | NLM_F_ACK, 6);
  header.writeUInt32LE(sequence, 8);
  return Buffer.concat([header, body]);
}

function protocolAttributes(protocol: number, { sourcePort, destinationPort }: Tuple): Buffer {
  const icmp = protocol === ICMP || protocol === ICMPV6 ? ICMP_ATTRIBUTES[protocol] : undefined;
  const fields = icmp
    ? [
        attribute(icmp[0], number(sourcePort, 2)),
        attribute(icmp[1], number(destinationPort >> 8, 1)),
        attribute(icmp[2], number(destinationPort & 255, 1)),
      ]
    : hasPorts(protocol)
      ? [
          attribute(CTA_PROTO_SRC_PORT, number(sourcePort, 2)),
          attribute(CTA_PROTO_DST_PORT, number(destinationPort, 2)),
        ]
      : [];
  return Buffer.concat([attribute(CTA_PROTO_NUM, number(protocol, 1)), ...fields]);
}

/** A netlink attribute, padded to four bytes. */
function attribute(type: number, value: Uint8Array): Buffer {
  const bytes = Buffer.alloc(Math.ceil((4 + value.length) / 4) * 4);
  bytes.writeUInt16LE(4 + value.length, 0);
  bytes.writeUInt16LE(type, 2);
  bytes.set(value, 4);
  return bytes;
}

function addressBytes(family: Family, address: number | bigint): Buffer {
  return family === "ip"
    ? number(Number(address), 4)
    : Buffer.from(address.toString(16).padStart(32, "0"), "hex");
}

/** A number in network byte order. */
function number(value: number, length: number): Buffer {
  const bytes = Buffer.alloc(length);
  bytes.writeUIntBE(value, 0, length);
  return bytes;
}
