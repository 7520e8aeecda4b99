// One row opened, what the address remembers, keys, and what changes while a run goes on.

/** @param {number} place */
async function openRow(place) {
  if (rows === null) return;
  const [here, other, number] = [rows, beside, ++openings];
  opened = place;
  const there = other ? other.partner(here, place) : null;
  /** @type {Node[]} */
  let sides;
  try {
    sides = [await shownSide(here, place, other ? here.label : "")];
    if (other && there !== null) sides.push(await shownSide(other, there, other.label));
    else if (other) sides.push(element("article", {}, element("h3", { class: "side", dir: "auto" }, other.label), element("p", { class: "soft" }, "It does not have this row.")));
  } catch (error) {
    sides = [element("p", { class: "bad" }, `The row cannot be shown: ${error}`)];
  }
  if (number !== openings) return; // another was opened meanwhile
  const detail = byId("detail");
  const title = element("h2", {}, `Row ${counted(here.value("number", place))}`);
  const step = (/** @type {number} */ steps) => {
    list.move(steps);
    void openRow(list.places[list.active]);
  };
  detail.replaceChildren(
    element("div", { class: "bar" }, title,
      button("↑", () => step(-1), { "aria-label": "the row before", title: "the row before" }),
      button("↓", () => step(1), { "aria-label": "the next row", title: "the next row" }),
      button("×", closeRow, { "aria-label": "close (Esc)", title: "close (Esc)" })),
    element("div", { class: other ? "sides" : "side" }, ...sides));
  detail.hidden = false;
  detail.scrollTop = 0;
  byId("split").classList.add("open");
  if (matchMedia("(max-width: 60rem)").matches) detail.focus();
  list.reveal();
  remember();
}

function closeRow() {
  openings++;
  if (byId("detail").hidden) return;
  opened = -1;
  byId("detail").hidden = true;
  byId("detail").replaceChildren();
  byId("split").classList.remove("open");
  list.grid.focus({ preventScroll: true });
  list.drawSoon();
  remember();
}

/** Show a tab. @param {string} name */
function show(name) {
  for (const each of ["overview", "rows"]) {
    byId(each).hidden = each !== name;
    byId(`tab-${each}`).setAttribute("aria-selected", String(each === name));
    byId(`tab-${each}`).tabIndex = each === name ? 0 : -1;
  }
  document.body.classList.toggle("fixed", name === "rows");
  if (name === "rows") {
    if (rows === null && isRestored && settings.evaluations.length > 0) void choose();
    list.drawSoon();
  }
  remember();
}

/** Keep in the address what is looked at, so that it can be sent and opened again. */
function remember() {
  const told = new URLSearchParams();
  if (!byId("rows").hidden) told.set("tab", "rows");
  for (const id of controls) {
    const control = byId(id);
    const usual = control.tagName === "SELECT" ? (control.options[0]?.value ?? "") : "";
    if (control.value !== usual) told.set(id, control.value);
  }
  if (descending) told.set("descending", "1");
  if (rows !== null && opened >= 0) told.set("row", rows.ids[opened]);
  const wanted = told.toString();
  if (isRestored && wanted !== location.hash.slice(1)) history.replaceState(null, "", wanted ? `#${wanted}` : location.pathname + location.search);
}

let isRestored = false;

/** Show what the address says. */
async function restore() {
  const told = new URLSearchParams(location.hash.slice(1));
  if (told.get("tab") === "rows" && settings.evaluations.length > 0) {
    for (const id of ["evaluation", "beside", "text"]) if (told.has(id)) byId(id).value = told.get(id);
    show("rows");
    await choose();
    for (const id of controls.slice(3)) if (told.has(id)) byId(id).value = told.get(id);
    descending = told.has("descending");
    await search(true);
    const place = rows?.place.get(told.get("row") ?? "");
    if (place !== undefined) {
      list.active = Math.max(0, list.places.indexOf(place));
      await openRow(place);
    }
  }
  isRestored = true;
}

/** @param {KeyboardEvent} event */
function key(event) {
  const target = /** @type {HTMLElement} */ (event.target);
  const isTyping = target.matches("input, select");
  if (event.key === "/" && !isTyping && !event.ctrlKey && !event.metaKey && !event.altKey) {
    show("rows");
    byId("filters").open = true;
    byId("text").focus();
    event.preventDefault();
  } else if (event.key === "Escape") {
    if (isTyping && target.id === "text" && byId("text").value !== "") {
      byId("text").value = "";
      void search();
    } else if (!byId("detail").hidden) closeRow();
    else if (isTyping) list.grid.focus();
  } else if (target.getAttribute("role") === "tab" && (event.key === "ArrowLeft" || event.key === "ArrowRight")) {
    const other = target.id === "tab-rows" ? "overview" : "rows";
    show(other);
    byId(`tab-${other}`).focus();
  }
}

/** Which evaluations there are to choose from. */
function fillEvaluations() {
  const names = settings.evaluations.map((/** @type {Told} */ each) => /** @type {[string, string]} */ ([String(each.id), each.label]));
  fillChoice(byId("evaluation"), names, byId("evaluation").value);
  fillChoice(byId("beside"), [["", "–"], ...names], byId("beside").value);
}

function start() {
  byId("filters").open = !matchMedia("(max-width: 40rem)").matches;
  fillEvaluations();
  for (const name of ["overview", "rows"]) byId(`tab-${name}`).addEventListener("click", () => show(name));
  for (const id of ["evaluation", "beside"]) byId(id).addEventListener("change", () => void choose());
  for (const id of ["show", "score", "least", "most"]) byId(id).addEventListener("input", refresh);
  byId("sort").addEventListener("input", () => {
    descending = false;
    refresh();
  });
  byId("group").addEventListener("input", () => {
    groupValue = undefined;
    refresh();
  });
  let typed = 0;
  byId("text").addEventListener("input", () => {
    clearTimeout(typed);
    typed = setTimeout(() => void search(), 200);
  });
  document.addEventListener("keydown", key);
  // While an opened row has the focus of the list, arrows go on to the next ones.
  byId("grid").addEventListener("keyup", (/** @type {KeyboardEvent} */ event) => {
    const place = list.places[list.active];
    if (!byId("detail").hidden && event.key !== "Enter" && place !== undefined && place !== opened) void openRow(place);
  });
  void restore();
  if (settings.live) void follow();
}

start();
