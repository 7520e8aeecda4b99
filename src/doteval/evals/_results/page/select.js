// Which rows are shown, in which order, and what groups of them say together.

/**
 * @typedef {object} Wish
 * @property {string} show
 * @property {string} score
 * @property {number} least
 * @property {number} most
 * @property {string} sort
 * @property {boolean} descending
 * @property {string} group
 * @property {any} groupValue What the rows of the group have; undefined for all rows.
 * @property {Set<number> | null} found Where the searched text is; null where none is searched.
 */

/** The places of rows that are wished for, sorted. @param {Rows} rows @param {Rows | null} beside @param {Wish} wish */
function selected(rows, beside, wish) {
  const failed = rows.columns.failed ?? [];
  const group = wish.groupValue === undefined ? null : rows.groups.get(wish.group);
  const limited = Number.isFinite(wish.least) || Number.isFinite(wish.most);
  const places = [];
  for (let place = 0; place < rows.length; place++) {
    if (wish.found !== null && !wish.found.has(place)) continue;
    if (!isShown(rows, beside, wish, place, failed[place])) continue;
    if (group && (group[place] ?? null) !== wish.groupValue) continue;
    if (limited) {
      const score = rows.score(wish.score, place);
      if (score === null || Number(score) < wish.least || Number(score) > wish.most) continue;
    }
    places.push(place);
  }
  const key = sortKey(rows, beside, wish);
  if (key !== null) sortBy(places, key, wish.descending);
  return places;
}

/** @param {Rows} rows @param {Rows | null} beside @param {Wish} wish @param {number} place @param {number} failed */
function isShown(rows, beside, wish, place, failed) {
  switch (wish.show) {
    case "failed":
      return Boolean(failed);
    case "returned":
      return !failed;
    case "no":
      return !failed && [...rows.scores.values()].some((column) => column[place] === false);
    case "again":
      return rows.value("attempts", place) > 1;
    case "lower":
    case "same":
    case "higher": {
      const difference = beside && rows.difference(wish.score, place, beside);
      if (difference === null) return false;
      return wish.show === (difference < 0 ? "lower" : difference > 0 ? "higher" : "same");
    }
    case "unpaired":
      return beside !== null && beside.partner(rows, place) === null;
    default:
      return true;
  }
}

/** @param {Rows} rows @param {Rows | null} beside @param {Wish} wish @returns {((place: number) => any) | null} */
function sortKey(rows, beside, wish) {
  if (wish.sort === "difference" && beside) return (place) => rows.difference(wish.score, place, beside);
  if (wish.sort.startsWith("score ")) return (place) => rows.score(wish.sort.slice(6), place);
  return (place) => rows.value(wish.sort, place);
}

/** Sort places; those without a value are always last. @param {number[]} places @param {(place: number) => any} key @param {boolean} descending */
function sortBy(places, key, descending) {
  const values = new Map(places.map((place) => [place, key(place)]));
  const sign = descending ? -1 : 1;
  places.sort((one, other) => {
    const a = values.get(one);
    const b = values.get(other);
    if (a === b) return one - other;
    if (a === null) return 1;
    if (b === null) return -1;
    return a < b ? -sign : a > b ? sign : one - other;
  });
}

/**
 * @typedef {object} Group
 * @property {any} value
 * @property {number} rows
 * @property {number} errors
 * @property {Map<string, {sum: number, count: number, isBoolean: boolean}>} scores
 * @property {{sum: number, count: number}} difference
 */

/** Which of two values of a column comes first: of numbers the smaller one. @param {any} one @param {any} other */
const order = (one, other) =>
  typeof one === "number" && typeof other === "number" ? one - other : String(one) < String(other) ? -1 : 1;

/** What rows say together, for each value of a column. @param {Rows} rows @param {Rows | null} beside @param {string} column @param {string} score @param {number[]} places */
function groupsOf(rows, beside, column, score, places) {
  const values = rows.groups.get(column) ?? [];
  /** @type {Map<any, Group>} */
  const groups = new Map();
  for (const place of places) {
    const value = values[place] ?? null;
    let group = groups.get(value);
    if (group === undefined) {
      group = { value, rows: 0, errors: 0, scores: new Map(), difference: { sum: 0, count: 0 } };
      groups.set(value, group);
    }
    group.rows++;
    const difference = beside && rows.isFirst(place) ? rows.difference(score, place, beside) : null;
    if (difference !== null) {
      group.difference.sum += difference;
      group.difference.count++;
    }
    if (rows.value("failed", place)) {
      group.errors++;
      continue;
    }
    for (const [name, scores] of rows.scores) {
      const given = scores[place] ?? null;
      if (given === null) continue;
      const sums = group.scores.get(name) ?? { sum: 0, count: 0, isBoolean: true };
      sums.sum += Number(given);
      sums.count++;
      sums.isBoolean &&= typeof given === "boolean";
      group.scores.set(name, sums);
    }
  }
  return [...groups.values()].sort((one, other) => other.rows - one.rows || order(one.value, other.value));
}
