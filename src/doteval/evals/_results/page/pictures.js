// Paired differences as a picture: how many rows are lower on the other side, the same, and higher, and by how much.

/** The differences of a score, of the rows that both sides have. @param {Rows} rows @param {Rows} beside @param {string} score */
function differencesOf(rows, beside, score) {
  const differences = [];
  for (let place = 0; place < rows.length; place++) {
    const difference = rows.isFirst(place) ? rows.difference(score, place, beside) : null;
    if (difference !== null) differences.push(difference);
  }
  return differences;
}

/** Ranges with counts: of a few values, each; else equally wide ones around zero. @param {number[]} values @returns {[number, number, number][]} */
function ranges(values) {
  const distinct = new Map();
  for (const value of values) distinct.set(value, (distinct.get(value) ?? 0) + 1);
  if (distinct.size <= 9) {
    if (!distinct.has(0)) distinct.set(0, 0);
    return [...distinct].sort(([one], [other]) => one - other).map(([value, count]) => [value, value, count]);
  }
  const most = values.reduce((largest, value) => Math.max(largest, Math.abs(value)), 0);
  const number = 11;
  const counts = Array(number).fill(0);
  for (const value of values) counts[Math.min(number - 1, Math.floor(((value / most + 1) / 2) * number))]++;
  const end = (/** @type {number} */ place) => ((2 * place - number) / number) * most;
  return counts.map((count, place) => [end(place), end(place + 1), count]);
}

/** The picture, and what it says in words. @param {number[]} differences @param {Row | null} told What Python has found of them. */
function differencePicture(differences, told) {
  const lower = differences.filter((difference) => difference < 0).length;
  const higher = differences.filter((difference) => difference > 0).length;
  const mean = differences.reduce((sum, difference) => sum + difference / differences.length, 0);
  const interval = told && told.low !== null && told.high !== null
    ? ` (95 %: ${shownDifference(told.low)} to ${shownDifference(told.high)})` : "";
  const words = `mean difference ${shownDifference(told ? told.mean : mean)}${interval}; ${counted(higher)} higher, ` +
    `${counted(differences.length - lower - higher)} the same, ${counted(lower)} lower`;
  return { words, picture: differenceBars(ranges(differences), words) };
}

/** @param {[number, number, number][]} counts @param {string} words */
function differenceBars(counts, words) {
  const width = 480;
  const [top, height, step] = [18, 110, width / counts.length];
  const most = Math.max(1, ...counts.map(([, , count]) => count));
  const bars = counts.flatMap(([low, high, count], place) => {
    const size = (height * count) / most;
    const middle = (place + 0.5) * step;
    const label = low === high ? shownDifference(low) : shownDifference(Number(((low + high) / 2).toPrecision(2)));
    const isNamed = counts.length <= 9 || place % 5 === 0;
    const kind = high <= 0 && low < 0 ? "bar lower" : low >= 0 && high > 0 ? "bar higher" : "bar same";
    return [
      drawn("rect", { class: kind, x: place * step + 2, y: top + height - size, width: step - 4, height: size },
        drawn("title", {}, `${low === high ? label : `${shownDifference(low)} to ${shownDifference(high)}`}: ${counted(count)}`)),
      drawn("text", { class: "count", x: middle, y: top + height - size - 4, "text-anchor": "middle" }, count ? counted(count) : ""),
      drawn("text", { class: "soft", x: middle, y: top + height + 16, "text-anchor": "middle" }, isNamed ? label : ""),
    ];
  });
  return drawn("svg", { viewBox: `0 0 ${width} ${top + height + 22}`, role: "img", "aria-label": words }, ...bars,
    drawn("line", { class: "axis", x1: 0, x2: width, y1: top + height, y2: top + height }));
}
