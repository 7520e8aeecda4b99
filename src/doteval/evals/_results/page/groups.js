// A table of groups; a click on one has only its rows shown.

const MOST_GROUPS = 200;

/**
 * @param {Group[]} groups
 * @param {string[]} scores
 * @param {{ column: string, chosen: any, difference: string }} told
 * @param {string} noun
 * @param {(value: any) => void} choose
 */
function groupTable(groups, scores, told, noun, choose) {
  const titles = [told.column, noun, "errors", ...scores, ...(told.difference ? [`difference: ${told.difference}`] : [])];
  const head = element("tr", {}, ...titles.map((title, place) =>
    element("th", place === 0 ? { class: "text", dir: "auto", scope: "col" } : { dir: "auto", scope: "col" }, title)));
  const lines = groups.slice(0, MOST_GROUPS).map((group) => {
    const isChosen = group.value === told.chosen;
    const name = group.value === null ? "(none)" : shownGroup(group.value);
    const cells = [
      counted(group.rows), group.errors ? counted(group.errors) : "0",
      ...scores.map((score) => meanOf(group.scores.get(score))),
      ...(told.difference ? [group.difference.count ? shownDifference(group.difference.sum / group.difference.count) : ""] : []),
    ];
    const chooser = button(name, () => choose(isChosen ? undefined : group.value), { "aria-pressed": String(isChosen), dir: "auto", class: "link" });
    return element("tr", isChosen ? { class: "chosen" } : {}, element("td", { class: "text" }, chooser), ...cells.map((cell) => element("td", {}, cell)));
  });
  const table = element("table", {}, element("thead", {}, head), element("tbody", {}, ...lines));
  const made = element("div", { class: "card scroll groups" }, table);
  if (groups.length > MOST_GROUPS) made.append(element("p", { class: "soft" }, `The largest ${MOST_GROUPS} of ${counted(groups.length)}.`));
  return made;
}

/** @param {any} value */
const shownGroup = (value) => (typeof value === "number" ? shownNumber(value) : typeof value === "boolean" ? shownScore(value) : String(value));

/** @param {{sum: number, count: number, isBoolean: boolean} | undefined} sums */
function meanOf(sums) {
  if (sums === undefined) return "";
  const mean = sums.sum / sums.count;
  return sums.isBoolean ? shownShare(mean) : shownNumber(mean);
}
