/** How many times as much as in `npm test` is drawn at random and repeated. `npm run test:faults` sets 4. */
export const ROUNDS = Number(process.env.ROUNDS ?? 1);
