// The index of one evaluation, by columns.

/** The rows of an evaluation, as far as a list of them needs to know. */
class Rows {
  /** @param {Record<string, any>} told What is known of the evaluation. */
  constructor(told) {
    this.id = /** @type {number} */ (told.id);
    this.label = /** @type {string} */ (told.label);
    this.last = 0;
    /** @type {string[]} */
    this.ids = [];
    /** @type {Map<string, number>} */
    this.place = new Map();
    /** @type {Record<string, any[]>} */
    this.columns = {};
    /** @type {Map<string, any[]>} */
    this.scores = new Map();
    /** @type {Map<string, any[]>} */
    this.groups = new Map();
    /** @type {Set<string>} */
    this.dropped = new Set();
  }

  get length() {
    return this.ids.length;
  }

  /** Take in a block; a row that is known already is replaced. @param {Record<string, any>} block */
  append(block) {
    /** @type {string[]} */
    const keys = block.key;
    const places = keys.map((key, row) => this.placeOf(block.sample ? `${key} ${block.sample[row]}` : key));
    for (const [name, values] of Object.entries(block)) {
      if (Array.isArray(values) && name !== "dropped") this.put((this.columns[name] ??= []), places, values);
    }
    for (const [named, given] of /** @type {const} */ ([[this.scores, block.scores], [this.groups, block.groups]])) {
      for (const name of Object.keys(given)) if (!named.has(name)) named.set(name, []);
      for (const [name, column] of named) this.put(column, places, given[name]);
    }
    for (const name of block.dropped) this.dropped.add(name);
    for (const name of this.dropped) this.groups.delete(name);
  }

  /** @param {string} id */
  placeOf(id) {
    let place = this.place.get(id);
    if (place === undefined) {
      place = this.ids.length;
      this.place.set(id, place);
      this.ids.push(id);
    }
    return place;
  }

  /** @param {any[]} column @param {number[]} places @param {any[] | undefined} values */
  put(column, places, values) {
    for (let row = 0; row < places.length; row++) column[places[row]] = values ? values[row] : null;
  }

  /** A value of a row. @param {string} column @param {number} place */
  value(column, place) {
    return this.columns[column]?.[place] ?? null;
  }

  /** A score of a row. @param {string} name @param {number} place @returns {number | boolean | null} */
  score(name, place) {
    return this.scores.get(name)?.[place] ?? null;
  }

  /** The place here of a row of others, if it is the same row with the same values. @param {Rows} others @param {number} place */
  partner(others, place) {
    const here = this.place.get(others.ids[place]);
    if (here === undefined || this.value("digest", here) !== others.value("digest", place)) return null;
    return here;
  }

  /** How much the score of the other side is higher than here. @param {string} name @param {number} place @param {Rows} other */
  difference(name, place, other) {
    const there = other.partner(this, place);
    if (there === null || this.value("failed", place) || other.value("failed", there)) return null;
    const before = this.score(name, place);
    const after = other.score(name, there);
    return before === null || after === null ? null : Number(after) - Number(before);
  }
}
