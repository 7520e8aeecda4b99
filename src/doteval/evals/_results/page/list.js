// A list of which only what is to be seen is in the document, however many rows there are.

/**
 * @typedef {object} Column
 * @property {string} name What it is sorted by; empty where it cannot be.
 * @property {string} title
 * @property {string} kind
 * @property {(place: number) => [string, string]} cell What stands in it, and its class.
 */

const HIGHEST = 8_000_000; // browsers know no higher elements; beyond that, a step of scrolling passes several rows

class List {
  /**
   * @param {(place: number) => void} open
   * @param {(column: string) => void} sort
   */
  constructor(open, sort) {
    this.grid = byId("grid");
    this.head = byId("head");
    this.space = byId("space");
    this.open = open;
    this.sort = sort;
    /** @type {number[]} */
    this.places = [];
    /** @type {Column[]} */
    this.columns = [];
    this.active = 0;
    this.isWaiting = false;
    this.grid.addEventListener("scroll", () => this.drawSoon(), { passive: true });
    this.grid.addEventListener("keydown", (/** @type {KeyboardEvent} */ event) => this.key(event));
    this.space.addEventListener("click", (/** @type {MouseEvent} */ event) => this.click(event));
    new ResizeObserver(() => this.drawSoon()).observe(this.grid);
  }

  /** @param {number[]} places @param {Column[]} columns @param {string} sorted @param {boolean} descending */
  show(places, columns, sorted, descending) {
    const before = this.places[this.active];
    this.places = places;
    this.columns = columns;
    const again = places.indexOf(before);
    this.active = again >= 0 ? again : 0;
    this.grid.setAttribute("aria-rowcount", String(places.length + 1));
    this.grid.setAttribute("aria-colcount", String(columns.length));
    this.grid.dataset.columns = String(columns.length);
    this.grid.style.setProperty("--columns", columns.map((column) => `var(--${column.kind})`).join(" "));
    this.head.replaceChildren(...columns.map((column) => this.title(column, sorted, descending)));
    this.draw();
  }

  /** @param {Column} column @param {string} sorted @param {boolean} descending */
  title(column, sorted, descending) {
    const order = column.name !== sorted ? "none" : descending ? "descending" : "ascending";
    const made = element("div", { role: "columnheader", class: column.kind, title: column.title, "aria-sort": order });
    const mark = order === "none" ? "" : descending ? " ↓" : " ↑";
    made.append(column.name === "" ? column.title : button(`${column.title}${mark}`, () => this.sort(column.name), { tabindex: "-1" }));
    return made;
  }

  drawSoon() {
    if (this.isWaiting) return;
    this.isWaiting = true;
    requestAnimationFrame(() => this.draw());
  }

  get rowHeight() {
    return Number.parseFloat(getComputedStyle(this.grid).getPropertyValue("--row")) || 36;
  }

  get room() {
    return Math.max(this.rowHeight, this.grid.clientHeight - this.head.offsetHeight);
  }

  /** How high all rows would be, and how high what stands for them is. */
  heights() {
    const all = this.places.length * this.rowHeight;
    return { all, shown: Math.min(all, HIGHEST) };
  }

  draw() {
    this.isWaiting = false;
    const { all, shown } = this.heights();
    const height = this.rowHeight;
    this.space.style.height = `${shown}px`;
    const scrolled = Math.min(this.grid.scrollTop, Math.max(0, shown - this.room));
    const above = all === shown ? scrolled : (scrolled / (shown - this.room)) * (all - this.room);
    const first = Math.max(0, Math.floor(above / height) - 4);
    const last = Math.min(this.places.length, Math.ceil((above + this.room) / height) + 4);
    const rows = [];
    for (let place = first; place < last; place++) rows.push(this.row(place, scrolled + place * height - above));
    this.space.replaceChildren(...rows);
    if (this.places.length > 0) this.grid.setAttribute("aria-activedescendant", `row-${this.active}`);
    else this.grid.removeAttribute("aria-activedescendant");
  }

  /** @param {number} place @param {number} top */
  row(place, top) {
    const made = element("div", { role: "row", id: `row-${place}`, "aria-rowindex": String(place + 2), "aria-selected": String(place === this.active) });
    made.style.transform = `translateY(${top}px)`;
    for (const column of this.columns) {
      const [text, kind] = column.cell(this.places[place]);
      made.append(element("div", { role: "gridcell", class: `${column.kind} ${kind}`, dir: "auto", "data-title": column.title }, text));
    }
    return made;
  }

  /** @param {MouseEvent} event */
  click(event) {
    const row = /** @type {Element} */ (event.target).closest("[role=row]");
    if (row === null) return;
    this.active = Number(row.id.slice(4));
    this.draw();
    this.open(this.places[this.active]);
  }

  /** @param {KeyboardEvent} event */
  key(event) {
    const page = Math.max(1, Math.floor(this.room / this.rowHeight) - 1);
    const end = this.places.length;
    /** @type {Record<string, number>} */
    const steps = { ArrowDown: 1, ArrowUp: -1, PageDown: page, PageUp: -page, Home: -end, End: end };
    if (event.ctrlKey || event.altKey || event.metaKey) return;
    if (event.key === "Enter" && end > 0 && event.target === this.grid) this.open(this.places[this.active]);
    else if (steps[event.key] !== undefined) this.move(steps[event.key]);
    else return;
    event.preventDefault();
  }

  /** @param {number} steps */
  move(steps) {
    this.active = Math.max(0, Math.min(this.places.length - 1, this.active + steps));
    this.reveal();
  }

  /** Have the active row in sight. */
  reveal() {
    const { all, shown } = this.heights();
    const height = this.rowHeight;
    const scale = all === shown ? 1 : (shown - this.room) / (all - this.room);
    const above = this.grid.scrollTop / scale;
    const top = this.active * height;
    if (top < above) this.grid.scrollTop = top * scale;
    else if (top + height > above + this.room) this.grid.scrollTop = (top + height - this.room) * scale;
    this.draw();
  }
}
