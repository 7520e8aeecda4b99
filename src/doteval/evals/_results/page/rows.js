// The index of one evaluation, by columns.

/** The rows of an evaluation, as far as a list of them needs to know. */
class Rows {
  /** @param {Record<string, any>} told What is known of the evaluation. */
  constructor(told) {
    this.id = /** @type {number} */ (told.id);
    this.label = /** @type {string} */ (told.label);
    this.last = 0;
    /** How many rows there are, whatever the number of samples. */
    this.count = 0;
    /** @type {string[]} */
    this.ids = [];
    /** @type {Map<string, number>} */
    this.place = new Map();
    /** @type {Map<string, number[]>} The places of the samples of those rows of which there are several. */
    this.samples = new Map();
    /** @type {Record<string, any[]>} */
    this.columns = {};
    /** @type {Map<string, any[]>} */
    this.scores = new Map();
    /** @type {Map<string, any[]>} */
    this.groups = new Map();
    /** @type {Set<string>} */
    this.dropped = new Set();
    /** @type {Set<string>} What the keys of those rows begin with that have one id. */
    this.repeated = new Set();
    /** @type {{ keys: Map<string, string[]>, numbers: Map<string, number> } | null} */
    this.known = null;
  }

  get length() {
    return this.ids.length;
  }

  /** Take in a block; a row that is known already is replaced. @param {Record<string, any>} block */
  append(block) {
    /** @type {string[]} */
    const keys = block.key;
    const places = keys.map((key, row) => this.placeOf(key, block.sample[row]));
    for (const [name, values] of Object.entries(block)) {
      if (Array.isArray(values) && name !== "dropped") this.put((this.columns[name] ??= []), places, values);
    }
    for (const [named, given] of /** @type {const} */ ([[this.scores, block.scores], [this.groups, block.groups]])) {
      for (const name of Object.keys(given)) if (!named.has(name)) named.set(name, []);
      for (const [name, column] of named) this.put(column, places, given[name]);
    }
    for (const name of block.dropped) this.dropped.add(name);
    for (const name of this.dropped) this.groups.delete(name);
    this.known = null;
  }

  /** @param {string} key @param {number} sample */
  placeOf(key, sample) {
    const id = idOf(key, sample);
    let place = this.place.get(id);
    if (place === undefined) {
      place = this.ids.length;
      this.place.set(id, place);
      this.ids.push(id);
      this.enter(key, sample, place);
    }
    return place;
  }

  /** Remember which samples belong together; of most rows there is one. @param {string} key @param {number} sample @param {number} place */
  enter(key, sample, place) {
    const [first, others] = [this.place.get(key), this.samples.get(key)];
    if (others !== undefined) {
      if (sample === 1) others.unshift(place);
      else others.push(place);
    } else if (sample === 1) {
      this.count++;
      if (baseOf(key) !== key) this.repeated.add(baseOf(key));
    } else {
      if (first === undefined) this.count++;
      this.samples.set(key, first === undefined ? [place] : [first, place]);
    }
  }

  /** What is counted here. */
  get noun() {
    return this.samples.size === 0 ? "rows" : "samples";
  }

  /** The places of all samples of a row. @param {number} place @returns {number[]} */
  samplesOf(place) {
    return this.samples.get(this.value("key", place)) ?? [place];
  }

  /** Whether no other sample of its row stands before it. @param {number} place */
  isFirst(place) {
    return this.samples.size === 0 || this.samplesOf(place)[0] === place;
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

  /** The place here of the same sample of the same row, with the same values; or of another sample of it. @param {Rows} others @param {number} place */
  partner(others, place) {
    const key = this.keyOfSame(others, place);
    const id = idOf(key, others.value("sample", place));
    const here = this.place.get(id) ?? this.place.get(key) ?? this.samples.get(key)?.[0];
    if (here === undefined || this.value("digest", here) !== others.value("digest", place)) return null;
    return here;
  }

  /** Its key here: rows whose id others have, on either side, are known by that and their values. @param {Rows} others @param {number} place */
  keyOfSame(others, place) {
    const key = others.value("key", place);
    if (!this.repeated.size && !others.repeated.size) return key;
    const base = baseOf(key);
    if (!this.repeated.has(base) && !others.repeated.has(base)) return key;
    const alike = this.byValues().keys.get(`${base} ${others.value("digest", place)}`);
    return alike?.[/** @type {number} */ (others.byValues().numbers.get(key))] ?? "";
  }

  /** The keys of rows by the id in them and their values, and the number of each among those of the same. */
  byValues() {
    if (this.known !== null) return this.known;
    const known = { keys: /** @type {Map<string, string[]>} */ (new Map()), numbers: /** @type {Map<string, number>} */ (new Map()) };
    for (let place = 0; place < this.length; place++) {
      const key = this.value("key", place);
      if (known.numbers.has(key)) continue;
      const alike = `${baseOf(key)} ${this.value("digest", place)}`;
      const keys = known.keys.get(alike);
      known.numbers.set(key, keys?.length ?? 0);
      if (keys) keys.push(key);
      else known.keys.set(alike, [key]);
    }
    return (this.known = known);
  }

  /** The mean score of the samples of a row that did not fail. @param {string} name @param {number} place */
  mean(name, place) {
    let [sum, count] = [0, 0];
    for (const each of this.samplesOf(place)) {
      const score = this.value("failed", each) ? null : this.score(name, each);
      if (score === null) continue;
      sum += Number(score);
      count++;
    }
    return count === 0 ? null : sum / count;
  }

  /** How much the score of a row is higher on the other side; of several samples, their means. @param {string} name @param {number} place @param {Rows} other */
  difference(name, place, other) {
    const there = other.partner(this, place);
    if (there === null) return null;
    const before = this.mean(name, place);
    const after = other.mean(name, there);
    return before === null || after === null ? null : after - before;
  }
}

/** What a sample of a row is known by. @param {string} key @param {number} sample */
function idOf(key, sample) {
  return sample === 1 ? key : `${key}#${sample}`;
}

/** What the keys of all rows of one id begin with; the key itself of a row without one. @param {string} key */
function baseOf(key) {
  return key.startsWith("id ") ? key.split(" ", 2).join(" ") : key;
}
