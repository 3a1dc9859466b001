/** Debian's suites, the oldest first. */
export const MATRIX = ["bullseye", "bookworm", "trixie", "forky", "sid"];
