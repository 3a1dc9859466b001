/** Debian suites, oldest first. */
export const MATRIX = ["bullseye", "bookworm", "trixie", "forky", "sid"];
