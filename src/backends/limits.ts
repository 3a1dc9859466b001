/** What a backend reports where rules cannot match packets under an IPsec policy. */
export const NO_IPSEC =
  "the kernel cannot match packets under an IPsec policy; they are masqueraded like all others";
