/**
 * The actual rules, as of the last listing and our writes since. They are valid only while `nft monitor` reports
 * every transaction, and none of them is foreign.
 *
 * Our transactions are recognised by their number: `nft monitor` names processes by PIDs of another namespace. If a
 * foreign transaction is taken for ours, a later one that is ours counts as foreign. After any doubt, everything counts
 * as foreign until the next listing.
 */
export class Memory<Key, Value> {
  readonly #known = new Map<Key, Value>();
  #isWatched = false;
  #isPaused = false;
  /** Whether our transactions must not be relied on before the next listing. */
  #isDoubtful = true;
  /** Increases with each change, so that a listing that began before it is not remembered. */
  #epoch = 0;
  /** Our transactions that were not reported yet. */
  #expected = 0;
  #timer: Timer | undefined;
  /** The rules that one of our transactions adds, the rules that its report has so far, and whether they are equal. */
  #awaited: readonly string[] = [];
  #rules: string[] = [];
  /** The sets and elements that our transactions add, as far as they are not reported; undefined if they do not matter. */
  #missing: Set<string> | undefined;
  /** Whether other sets or elements were reported. */
  #hasOthers = false;
  #answer: (isConfirmed: boolean) => void = () => {};
  #confirmed: Promise<boolean> = Promise.resolve(false);
  /** Called if the kernel must be listed again, because one of our transactions was not reported. */
  onDoubt: () => void = () => {};

  /** Called to end the program that reports transactions, and to start it again; see {@link pause}. */
  onPause: (isPaused: boolean) => void = () => {};

  /** @param timeout milliseconds until one of our transactions must be reported */
  constructor(readonly timeout = REPORT_MS) {}

  /** Whether transactions are reported. */
  get isWatched(): boolean {
    return this.#isWatched;
  }

  set isWatched(isWatched: boolean) {
    this.#isWatched = isWatched;
    this.forget();
  }

  /**
   * Ends the program that reports transactions until {@link resume}, because it needs memory for each element of a
   * transaction, and for all elements in the kernel. When it reports transactions again, the kernel is listed.
   */
  pause(): void {
    this.#isPaused = true;
    this.onPause(true);
  }

  resume(): void {
    this.#isPaused = false;
    this.onPause(false);
  }

  get isPaused(): boolean {
    return this.#isPaused;
  }

  /** Undefined if the key is not known. */
  get(key: Key): Value | undefined {
    return this.#known.get(key);
  }

  get epoch(): number {
    return this.#epoch;
  }

  /**
   * Remembers a listing.
   *
   * @param epoch the epoch when the listing began
   */
  listed(key: Key, value: Value, epoch: number): void {
    if (!this.#isWatched || epoch !== this.#epoch) return;
    this.#isDoubtful = false;
    this.#known.set(key, value);
  }

  /** Remembers the result of one of our writes. */
  written(key: Key, value: Value): void {
    this.#epoch++;
    if (!this.#isDoubtful) this.#known.set(key, value);
  }

  /** Call it before one of our transactions. */
  expect(): void {
    this.#epoch++;
    if (this.#isDoubtful) return;
    if (this.#expected++ === 0) this.#awaitReport();
  }

  /**
   * Call it before our transactions that add rules.
   *
   * @param rules the rules of the last transaction in order, as in `rule ip nat POSTROUTING masquerade`
   * @param objects the sets and elements that all of them add, as in `element ip nat s { 10.0.0.0/8 }`; undefined if
   *   their reports do not matter
   */
  await(rules: readonly string[], objects?: readonly string[]): void {
    this.#answer(false);
    this.#missing = objects && new Set(objects);
    this.#hasOthers = false;
    this.#awaited = rules;
    this.#confirmed = Promise.resolve(false);
    if (this.#isDoubtful || rules.length === 0) return;
    const { promise, resolve } = Promise.withResolvers<boolean>();
    this.#confirmed = promise;
    this.#answer = resolve;
  }

  /** Whether reports show, within some milliseconds, all that the last {@link await} names. */
  confirmed(milliseconds: number): Promise<boolean> {
    const { promise, resolve } = Promise.withResolvers<boolean>();
    const timer = setTimeout(() => resolve(false), milliseconds);
    void this.#confirmed.then(resolve);
    return promise.finally(() => clearTimeout(timer));
  }

  /**
   * Waits until a transaction takes effect: its program ends, or reports show what the last {@link await} names. nft
   * ends 10 ms later than that if rules are deleted, because the kernel then frees them.
   *
   * @throws the error of the transaction
   */
  async committed(transaction: Promise<unknown>): Promise<void> {
    await Promise.race([transaction, this.#confirmed.then(is => (is ? undefined : transaction))]);
    transaction.catch(() => this.onDoubt());
  }

  /** Call it for each reported line about our tables. */
  line(line: string): void {
    if (this.#missing) this.#object(line, this.#missing);
    if (this.#rules.length > this.#awaited.length) return;
    const [, place, rule] = ADDED_RULE.exec(line) ?? [];
    if (place !== undefined) this.#rules.push(`${place}${rule}`);
  }

  /** Call it for each reported transaction. Returns whether it is ours; otherwise forgets everything. */
  reported(): boolean {
    const rules = this.#rules;
    this.#rules = [];
    if (this.#expected > 0) {
      clearTimeout(this.#timer);
      if (--this.#expected > 0) this.#awaitReport();
      const isComplete = !this.#missing?.size && !this.#hasOthers;
      if (rules.length > 0) this.#answer(isComplete && isReport(rules, this.#awaited));
      return true;
    }
    this.forget();
    return false;
  }

  /** Call it if reports were lost, or if one of our transactions failed, since the kernel may have committed it. */
  forget(): void {
    this.#epoch++;
    this.#isDoubtful = true;
    this.#expected = 0;
    clearTimeout(this.#timer);
    this.#answer(false);
    this.#rules = [];
    this.#known.clear();
  }

  #object(line: string, missing: Set<string>): void {
    const [, verb, object] = SET_OR_ELEMENT.exec(line) ?? [];
    if (object !== undefined && !(verb === "add" && missing.delete(object))) this.#hasOthers = true;
  }

  /** Raises doubt if the oldest of our transactions is not reported in time. Later transactions do not postpone that. */
  #awaitReport(): void {
    this.#timer = setTimeout(() => {
      this.forget();
      this.onDoubt();
    }, this.timeout).unref();
  }
}

/** A set or an element that was added or deleted. A deleted set does not match, because it changes no verdict. */
const SET_OR_ELEMENT = /^(add|delete(?! set)) ((?:set|element) .*\S)/;

/** The first rule of a chain is reported as inserted on kernel 5.10. nft 1.0.6 prints some handles. */
const ADDED_RULE = /^(?:add|insert) (rule \S+ \S+ \S+)(?: handle \d+)?( .*)/;

/**
 * Whether a report has these rules. nft 1.0.6 prints some rules in another form, or without a set; then the kernel must
 * be listed.
 */
function isReport(lines: readonly string[], rules: readonly string[]): boolean {
  const isSame = (line: string, rule = "") => line === rule || (line.length >= CUT && rule.startsWith(line));
  return lines.length === rules.length && lines.every((line, i) => isSame(line, rules[i]));
}

/** A monitor cuts off lines of 256 characters, with verb and handle. */
const CUT = 220;

/** `nft monitor` takes 0.6 s to print a transaction of 45,000 elements, on an idle machine. */
const REPORT_MS = 20_000;
