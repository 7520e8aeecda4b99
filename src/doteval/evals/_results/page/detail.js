// All that is kept of one row, or of the same row on two sides.

const SHOWN_AT_ONCE = 50_000;

/** A text; of a long one, the beginning, and a button for more. @param {string} text @returns {Node} */
function shownText(text) {
  const made = element("pre", { dir: "auto" });
  let shown = showMore(made, text, 0);
  if (shown === text.length) return made;
  const rest = () => `Show more: ${counted(text.length - shown)} of ${counted(text.length)} characters are left`;
  const more = button(rest(), () => {
    for (let times = 0; times < 10 && shown < text.length; times++) shown = showMore(made, text, shown);
    if (shown < text.length) more.textContent = rest();
    else more.remove();
  });
  return element("div", {}, made, more);
}

/** Show a chunk more, up to the end of a line if there is one; browsers lay out those in sight only. @param {Element} made @param {string} text @param {number} start */
function showMore(made, text, start) {
  const limit = start + SHOWN_AT_ONCE;
  const line = limit < text.length ? text.lastIndexOf("\n", limit - 1) + 1 : text.length;
  const isInPair = (text.charCodeAt(limit) & 0xfc00) === 0xdc00; // the second half of a letter
  const end = line > start ? line : limit + Number(isInPair);
  made.append(start === 0 && end === text.length ? text : element("div", { class: "chunk" }, text.slice(start, end)));
  return end;
}

/** A value of whatever kind. @param {any} value @returns {Node} */
function shownValue(value) {
  if (typeof value === "string") return shownText(value);
  if (Array.isArray(value) && value.length > 0 && value.every(isMessage)) {
    return element("div", {}, ...value.map(shownMessage));
  }
  if (value !== null && typeof value === "object" && !Array.isArray(value) && Object.keys(value).length > 0) {
    return shownFields(Object.entries(value));
  }
  return shownText(JSON.stringify(value, null, 1));
}

/** @param {any} value */
const isMessage = (value) => value !== null && typeof value === "object" && typeof value.role === "string";

/** @param {any} message */
function shownMessage(message) {
  const { role, content, ...others } = message;
  const parts = /** @type {Node[]} */ ([element("p", { class: "role" }, role)]);
  if (content !== undefined && content !== null) parts.push(element("div", {}, shownValue(content)));
  for (const [name, value] of Object.entries(others)) {
    if (value !== null && value !== undefined) parts.push(element("p", { class: "soft" }, name), shownText(asText(value)));
  }
  return element("div", { class: "message" }, ...parts);
}

/** @param {any} value */
const asText = (value) => (typeof value === "string" ? value : JSON.stringify(value, null, 1));

/** Names and values. @param {[string, any][]} fields */
function shownFields(fields) {
  return element("dl", {}, ...fields.flatMap(([name, value]) => [
    element("dt", { dir: "auto" }, name),
    element("dd", {}, shownText(asText(value))),
  ]));
}

/** A part with a heading, unless there is nothing in it. @param {string} title @param {any} value @param {string} kind @returns {Node[]} */
function part(title, value, kind = "") {
  const isNothing = value === null || value === undefined || (typeof value === "object" && Object.keys(value).length === 0);
  return isNothing ? [] : [element("section", { class: kind }, element("h3", {}, title), shownValue(value))];
}

/** What the models of a row were asked, and what that cost. @param {Row[]} usages @returns {Node[]} */
function shownUsage(usages) {
  if (usages.length === 0) return [];
  const names = ["role", "model", "requests", "failed", "input_tokens", "cached_tokens", "cache_write_tokens", "output_tokens", "reasoning_tokens"];
  const titles = ["role", "model", "requests", "failed", "input", "cached", "written", "output", "reasoning"];
  if (usages.some((usage) => usage.from_cache)) {
    names.push("from_cache");
    titles.push("from a cache");
  }
  const lines = usages.map((usage) => element("tr", {}, ...names.map((name) => {
    const value = usage[name];
    if (typeof value !== "number") return element("td", { class: "text" }, value ?? "");
    return element("td", {}, atLeast(counted(value), usage.unknown && (name === "input_tokens" || name === "output_tokens")));
  })));
  const head = element("tr", {}, ...titles.map((title, place) => element("th", place < 2 ? { class: "text" } : {}, title)));
  return [element("section", {}, element("h3", {}, "requests and tokens"),
    element("div", { class: "scroll" }, element("table", {}, element("thead", {}, head), element("tbody", {}, ...lines))))];
}

/** A number, and whether that is all. @param {string} text @param {any} isUnknown */
function atLeast(text, isUnknown) {
  return isUnknown && text !== "" ? `≥ ${text}` : text;
}

/** The tokens of a row in a list. @param {number | null} tokens @param {any} isUnknown */
function shownTokens(tokens, isUnknown) {
  return tokens === null && !isUnknown ? "" : atLeast(counted(tokens ?? 0), isUnknown);
}

/** The numbers of a row, in a line. @param {Row} row @param {number | null} cost @param {any} isCostUnknown */
function shownNumbers(row, cost, isCostUnknown) {
  const isUnknown = row.usage_by_model.some((/** @type {any} */ usage) => usage.unknown);
  const tokens = [[row.input_tokens, "tokens in"], [row.output_tokens, "out"]].filter(([count]) => count !== null);
  return [
    shownSeconds(row.seconds),
    ...tokens.map(([count, name]) => `${atLeast(counted(count), isUnknown)} ${name}`),
    ...(cost === null ? [] : [`cost ${atLeast(shownAmount(cost), isCostUnknown)}`]),
    ...(row.attempts > 1 ? [`${counted(row.attempts)} attempts`] : []),
  ].join(" · ");
}

/** One side: all samples of the row. @param {Rows} rows @param {number} place @param {string} label */
async function shownSide(rows, place, label) {
  const places = rows.samplesOf(place);
  const found = await source.details(rows.id, rows, places);
  const articles = found.map((row) => {
    const where = rows.place.get(idOf(row.key, row.sample)) ?? place;
    const sample = found.length > 1 ? `sample ${counted(row.sample)}` : "";
    return shownRow(row, rows.value("cost", where), rows.value("cost_unknown", where), [label, sample].filter(Boolean).join(", "));
  });
  return element("div", {}, ...articles);
}

/** One sample. @param {Row} row @param {number | null} cost @param {any} isCostUnknown @param {string} label */
function shownRow(row, cost, isCostUnknown, label) {
  return element("article", {},
    ...(label ? [element("h3", { class: "side", dir: "auto" }, label)] : []),
    element("p", { class: "soft" }, shownNumbers(row, cost, isCostUnknown)),
    ...shownScores(row.scores),
    ...part("error", row.error, "bad"),
    ...part("output", row.output),
    ...part("prompt", row.prompt),
    ...part("inputs", row.inputs),
    ...part("metadata", row.metadata),
    ...part("reply", row.reply),
    ...part("traceback", row.traceback),
    ...shownUsage(row.usage_by_model),
    ...(row.transcript ? shownRequests(requestsOf(row.transcript)) : []),
    ...shownOthers(row),
  );
}

const KNOWN = new Set([
  "number", "key", "sample", "digest", "inputs", "output", "prompt", "scores", "metadata", "error", "traceback", "seconds",
  "input_tokens", "output_tokens", "reply", "attempts", "usage_by_model", "transcript",
]);

/** What else is kept of a row. @param {Row} row */
function shownOthers(row) {
  return Object.entries(row).filter(([name]) => !KNOWN.has(name)).flatMap(([name, value]) => part(name, value));
}

/** @param {Record<string, number | boolean> | null} scores @returns {Node[]} */
function shownScores(scores) {
  const found = Object.entries(scores ?? {});
  if (found.length === 0) return [];
  return [element("ul", { class: "scores" }, ...found.map(([name, score]) =>
    element("li", { class: score === false ? "bad" : "" }, element("span", { dir: "auto" }, name), " ", element("b", {}, shownScore(score)))))];
}
