// What the reader does, and what is shown then.

/** @typedef {{id: number, name: string, label: string, stored: number, finished: number | null}} Told */

const settings = JSON.parse(byId("settings").textContent);
const source = /** @type {Source} */ (settings.live ? new ServerSource() : new FileSource());
/** @type {Map<number, Promise<Rows>>} */
const known = new Map();
const compared = new Map();
for (const each of settings.comparisons) compared.set(`${each.before} ${each.after}`, each);

const READING = "Reading the rows …";
const controls = ["evaluation", "beside", "text", "show", "score", "least", "most", "sort", "group"];
const list = new List((place) => void openRow(place), sortByColumn);
/** @type {Rows | null} */
let rows = null;
/** @type {Rows | null} */
let beside = null;
let descending = false;
/** @type {any} */
let groupValue;
/** @type {Set<number> | null} */
let found = null;
let searches = 0;
let searched = "";
let opened = -1;
let openings = 0;

/** @returns {Wish} */
function wished() {
  const limit = (/** @type {string} */ id, /** @type {number} */ none) => {
    const text = byId(id).value.trim().replace(",", ".");
    return text === "" || Number.isNaN(Number(text)) ? none : Number(text);
  };
  return {
    show: byId("show").value, score: byId("score").value, least: limit("least", -Infinity), most: limit("most", Infinity),
    sort: byId("sort").value, descending, group: byId("group").value, groupValue, found,
  };
}

/** The rows of an evaluation; read when they are first asked for. @param {number} id */
function rowsOf(id) {
  let there = known.get(id);
  if (there === undefined) {
    there = readIndex(new Rows(settings.evaluations.find((/** @type {Told} */ each) => each.id === id)));
    known.set(id, there);
  }
  return there;
}

/** @param {Rows} there */
async function readIndex(there) {
  while (await source.index(there.id, there)) {
    if (rows !== null) continue;
    rows = there; // the first rows are shown while the others are read
    fillChoices();
    refresh();
    byId("status").textContent = READING;
  }
  return there;
}

/** Show another evaluation, or others beside it. */
async function choose() {
  const [id, other] = [Number(byId("evaluation").value), Number(byId("beside").value)];
  byId("status").textContent = READING;
  const [here, there] = await Promise.all([rowsOf(id), other && other !== id ? rowsOf(other) : null]);
  if (id !== Number(byId("evaluation").value) || other !== Number(byId("beside").value)) return; // the reader has chosen others
  [rows, beside] = [here, there];
  closeRow();
  groupValue = undefined;
  await readComparison();
  fillChoices();
  await search(true);
}

/** Ask for the differences of the two sides, where there is somebody to ask. */
async function readComparison() {
  if (!settings.live || rows === null || beside === null) return;
  const key = `${rows.id} ${beside.id}`;
  try {
    compared.set(key, await ask(`compare?before=${rows.id}&after=${beside.id}`));
  } catch {
    compared.delete(key); // they are shown without intervals
  }
}

function fillChoices() {
  if (rows === null) return;
  const there = rows;
  const scores = [...there.scores.keys()];
  const columns = [...there.groups.keys()];
  const pairs = /** @type {[string, string][]} */ ([["lower", "lower beside"], ["higher", "higher beside"], ["same", "the same score"], ["unpaired", "only here"]]);
  fillChoice(byId("show"), [["all", "all rows"], ["failed", "failed"], ["returned", "not failed"], ["no", "a score of no"], ["again", "more than one attempt"], ...(beside ? pairs : [])], byId("show").value);
  fillChoice(byId("score"), scores.length ? scores.map((name) => [name, name]) : [["", "–"]], byId("score").value);
  fillChoice(byId("sort"), [
    ["number", "row"], ["input", "input"], ["output", "output"], ["failed", "failed"],
    ...scores.map((name) => /** @type {[string, string]} */ ([`score ${name}`, name])),
    ...(beside ? [/** @type {[string, string]} */ (["difference", "difference"])] : []),
    ["seconds", "time"], ["tokens", "tokens"], ...(there.columns.cost ? [/** @type {[string, string]} */ (["cost", "cost"])] : []), ["attempts", "attempts"],
  ], byId("sort").value);
  fillChoice(byId("group"), [["", "–"], ...columns.map((name) => /** @type {[string, string]} */ ([name, name]))], byId("group").value);
}

/** Show what is wished for. */
function refresh() {
  if (rows === null) return;
  const wish = wished();
  const places = selected(rows, beside, wish);
  list.show(places, columnsFor(rows, beside, wish), wish.sort, descending);
  const notes = [`${counted(places.length)} of ${counted(rows.length)} ${rows.noun}`];
  if (beside) {
    const other = beside;
    const here = rows;
    const both = rows.ids.reduce((sum, _, place) => sum + Number(here.isFirst(place) && other.partner(here, place) !== null), 0);
    notes.push(`${counted(both)} ${here.noun === "rows" ? "" : "rows "}are on both sides, ${counted(other.count - both)} only beside`);
  }
  if (searched) notes.push(searched);
  byId("status").textContent = notes.join("; ");
  showSummary(rows, wish, places);
  remember();
}

/** @param {Rows} rows @param {Wish} wish @param {number[]} places */
function showSummary(rows, wish, places) {
  const parts = [];
  if (beside && wish.score) {
    const differences = differencesOf(rows, beside, wish.score);
    if (differences.length > 0) {
      const told = compared.get(`${rows.id} ${beside.id}`)?.scores[wish.score] ?? null;
      const { words, picture } = differencePicture(differences, told ?? turned(compared.get(`${beside.id} ${rows.id}`)?.scores[wish.score]));
      const caption = element("figcaption", { dir: "auto" }, element("b", {}, wish.score), `: ${words}`);
      parts.push(element("figure", { class: "card difference" }, caption, picture));
    }
  }
  if (wish.group) {
    const all = groupValue === undefined ? places : selected(rows, beside, { ...wish, groupValue: undefined });
    const groups = groupsOf(rows, beside, wish.group, wish.score, all);
    const told = { column: wish.group, chosen: groupValue, difference: beside ? wish.score : "" };
    parts.push(groupTable(groups, [...rows.scores.keys()], told, rows.noun, (value) => {
      groupValue = value;
      refresh();
    }));
  }
  byId("summary").replaceChildren(...parts);
}

/** A comparison, seen from the other side. @param {any} told */
function turned(told) {
  const less = (/** @type {number | null} */ value) => (value === null ? null : -value);
  return told ? { mean: less(told.mean), low: less(told.high), high: less(told.low) } : null;
}

/** @param {Rows} rows @param {Rows | null} beside @param {Wish} wish @returns {Column[]} */
function columnsFor(rows, beside, wish) {
  const output = (/** @type {Rows} */ side, /** @type {number | null} */ place) => /** @type {[string, string]} */ (
    place === null ? ["", ""] : [side.value("output", place) ?? "", side.value("failed", place) ? "bad" : ""]);
  const score = (/** @type {number | boolean | null} */ value) => /** @type {[string, string]} */ ([shownScore(value), value === false ? "bad" : ""]);
  const columns = /** @type {Column[]} */ ([
    { name: "number", title: "row", kind: "place", cell: (place) => [rowName(rows, place), "soft"] },
    { name: "input", title: "input", kind: "long", cell: (place) => [rows.value("input", place) ?? "", ""] },
    { name: "output", title: beside ? rows.label : "output", kind: "long", cell: (place) => output(rows, place) },
  ]);
  if (beside) {
    const other = beside;
    columns.push({ name: "", title: other.label, kind: "long", cell: (place) => output(other, other.partner(rows, place)) });
    if (wish.score) {
      columns.push(
        { name: `score ${wish.score}`, title: wish.score, kind: "score", cell: (place) => score(rows.score(wish.score, place)) },
        { name: "", title: "beside", kind: "score", cell: (place) => {
          const there = other.partner(rows, place);
          return there === null ? ["", ""] : score(other.score(wish.score, there));
        } },
        { name: "difference", title: "difference", kind: "score", cell: (place) => {
          const difference = rows.difference(wish.score, place, other);
          return difference === null ? ["", ""] : [shownDifference(difference), difference < 0 ? "lower" : difference > 0 ? "higher" : "soft"];
        } },
      );
    }
    return columns;
  }
  for (const name of [...rows.scores.keys()].slice(0, 5)) {
    columns.push({ name: `score ${name}`, title: name, kind: "score", cell: (place) => score(rows.score(name, place)) });
  }
  columns.push({ name: "seconds", title: "time", kind: "count", cell: (place) => [shownSeconds(rows.value("seconds", place)), ""] });
  columns.push({ name: "tokens", title: "tokens", kind: "count", cell: (place) => [shownTokens(rows.value("tokens", place), rows.value("unknown", place)), ""] });
  if (rows.columns.cost) columns.push({ name: "cost", title: "cost", kind: "count", cell: (place) => [atLeast(shownAmount(rows.value("cost", place)), rows.value("cost_unknown", place)), ""] });
  return columns;
}

/** @param {Rows} rows @param {number} place */
function rowName(rows, place) {
  const number = counted(rows.value("number", place));
  return rows.noun === "rows" ? number : `${number} · ${rows.value("sample", place)}`;
}

/** @param {string} column */
function sortByColumn(column) {
  descending = byId("sort").value === column ? !descending : false;
  byId("sort").value = column;
  refresh();
}

/** Look for the text in all rows, block by block, and show what is found meanwhile. @param {boolean} again Whether the rows may be others. */
async function search(again = false) {
  const text = byId("text").value.trim();
  const number = ++searches;
  if (rows === null) return;
  const there = rows;
  found = text === "" ? null : new Set();
  searched = text === "" ? "" : "searching …";
  if (text === "" || again) refresh();
  if (text === "") return;
  let shown = 0;
  try {
    await source.search(there.id, there, text, (places, share) => {
      if (number !== searches) return false;
      for (const place of places) found?.add(place);
      searched = share < 1 ? `searching, ${Math.floor(100 * share)} % done` : "";
      if (share === 1 || performance.now() - shown > 250) {
        shown = performance.now();
        refresh();
      }
      return true;
    });
  } catch (error) {
    searched = `not searched: ${error}`;
  }
  if (number !== searches) return;
  if (searched.startsWith("searching")) searched = "";
  refresh();
}
