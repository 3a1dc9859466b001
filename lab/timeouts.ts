/** Seconds within which a server must see a connection; usually it takes less than 1 ms. Emulated machines set more. */
export const SECONDS = Number(process.env.LAB_SECONDS ?? 2);
