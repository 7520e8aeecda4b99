// Where rows come from: the blocks of this file, or the server that gave the page. Both are asked in the same way:
//   index(evaluation, rows)               reads a block of what is new into rows; whether there is more
//   details(evaluation, rows, places)     all of the samples of one row
//   search(evaluation, rows, text, tell)  tells places whose texts have the text; a share of the work done; goes on if true

/** @typedef {Record<string, any>} Row */
/** @typedef {(places: number[], share: number) => boolean} Tell */
/**
 * @typedef {object} Source
 * @property {(evaluation: number, rows: Rows) => Promise<boolean>} index
 * @property {(evaluation: number, rows: Rows, places: number[]) => Promise<Row[]>} details
 * @property {(evaluation: number, rows: Rows, text: string, tell: Tell) => Promise<void>} search
 */

/** The text of a block: base64 of what zlib has compressed. @param {string} block */
async function unpack(block) {
  const letters = atob(block);
  const bytes = new Uint8Array(letters.length);
  for (let place = 0; place < letters.length; place++) bytes[place] = letters.charCodeAt(place);
  return await new Response(new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"))).text();
}

/** Whether a value has a text in lower case anywhere in it, also in the names of what it holds, unless these are ours. @param {any} value @param {string} text @param {boolean} names @returns {boolean} */
function hasText(value, text, names = true) {
  if (typeof value === "string") return value.toLowerCase().includes(text);
  if (value === null) return false;
  if (typeof value !== "object") return String(value).includes(text);
  const isNamed = names && !Array.isArray(value);
  return Object.entries(value).some(([name, each]) => (isNamed && name.toLowerCase().includes(text)) || hasText(each, text, names));
}

const SEARCHED = ["inputs", "output", "prompt", "scores", "metadata", "error", "traceback", "reply"];

/** Whether the texts of a row have a text in lower case. @param {Row} row @param {string} text */
function rowHasText(row, text) {
  return SEARCHED.some((name) => hasText(row[name] ?? null, text)) || hasText(row.transcript?.texts ?? null, text, false);
}

/** The file itself. The blocks of details stand behind the script, and may not be there yet. */
class FileSource {
  constructor() {
    /** @type {Map<Element, string[]>} */
    this.recent = new Map();
  }

  /** @param {number} evaluation @param {Rows} rows */
  async index(evaluation, rows) {
    const [element, ...others] = document.querySelectorAll(`script.index[data-of="${evaluation}"]`);
    const block = element.textContent ?? "";
    element.remove(); // its text is not needed twice
    const isPacked = element.getAttribute("type") === "text/plain"; // not the first one, so that it is there at once
    rows.append(JSON.parse(isPacked ? await unpack(block) : block));
    return others.length > 0;
  }

  /** @param {number} evaluation @param {Rows} _rows @param {number[]} places */
  async details(evaluation, _rows, places) {
    await this.whole();
    const found = [];
    for (const element of this.elements(evaluation)) {
      const first = Number(element.dataset.first);
      for (const place of places) {
        if (place < first || place >= first + Number(element.dataset.count)) continue;
        found.push(JSON.parse((await this.lines(element))[place - first]));
      }
    }
    return found;
  }

  /** @param {number} evaluation @param {Rows} _rows @param {string} text @param {Tell} tell */
  async search(evaluation, _rows, text, tell) {
    await this.whole();
    const elements = this.elements(evaluation);
    const wanted = text.toLowerCase();
    const inJson = JSON.stringify(wanted).slice(1, -1).toLowerCase();
    for (const [number, element] of elements.entries()) {
      const first = Number(element.dataset.first);
      const block = await unpack(element.textContent ?? "");
      const places = [];
      if (block.toLowerCase().includes(inJson)) {
        for (const [line, each] of block.split("\n").entries()) {
          if (each.toLowerCase().includes(inJson) && rowHasText(JSON.parse(each), wanted)) places.push(first + line);
        }
      }
      if (!tell(places, (number + 1) / elements.length)) return;
    }
  }

  /** @param {number} evaluation @returns {HTMLElement[]} */
  elements(evaluation) {
    return [...document.querySelectorAll(`script.details[data-of="${evaluation}"]`)].map((each) => /** @type {HTMLElement} */ (each));
  }

  /** Until all of the file is read. */
  async whole() {
    if (document.readyState !== "loading") return;
    await new Promise((resolve) => document.addEventListener("DOMContentLoaded", resolve, { once: true }));
  }

  /** The lines of a block; the last few are kept. @param {Element} element */
  async lines(element) {
    const known = this.recent.get(element) ?? (await unpack(element.textContent ?? "")).split("\n");
    this.recent.delete(element);
    this.recent.set(element, known);
    if (this.recent.size > 4) this.recent.delete(/** @type {Element} */ (this.recent.keys().next().value));
    return known;
  }
}

/** The server that gave the page; addresses are relative to its own, which has the token in it. */
class ServerSource {
  /** @param {number} evaluation @param {Rows} rows */
  async index(evaluation, rows) {
    const told = await ask(`rows?evaluation=${evaluation}&after=${rows.last}`);
    rows.append(told.block);
    rows.last = told.last;
    return told.more;
  }

  /** @param {number} evaluation @param {Rows} rows @param {number[]} places */
  async details(evaluation, rows, places) {
    return await ask(`row?evaluation=${evaluation}&key=${encodeURIComponent(rows.value("key", places[0]))}`);
  }

  /** @param {number} evaluation @param {Rows} rows @param {string} text @param {Tell} tell */
  async search(evaluation, rows, text, tell) {
    const told = await ask(`search?evaluation=${evaluation}&text=${encodeURIComponent(text)}`);
    const places = told.found.map((/** @type {[string, number]} */ [key, sample]) => rows.place.get(idOf(key, sample)));
    tell(places.filter((/** @type {number | undefined} */ place) => place !== undefined), 1);
  }
}

/** What the server says. @param {string} address @returns {Promise<any>} */
async function ask(address) {
  const answer = await fetch(address, { cache: "no-store" });
  if (!answer.ok) throw new Error(`the server says ${answer.status}`);
  return await answer.json();
}
