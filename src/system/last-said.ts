/** Remembers what was last said of something, so that what lasts is said once. */
export class LastSaid {
  #text: string | undefined;

  /** Whether a text differs from the one before, which it takes the place of. Undefined: there is nothing to say. */
  isNews(text: string | undefined): boolean {
    const isNews = text !== this.#text;
    this.#text = text;
    return isNews;
  }
}
