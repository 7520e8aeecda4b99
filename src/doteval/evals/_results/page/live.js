// While a run goes on: what is new is asked for now and then, and shown.

const OFTEN = 2000;
const SELDOM = 10_000;
const seen = { overview: "", rows: "", counter: 0, file: settings.file, started: startsOf(settings.evaluations) };

/** Ask what there is, show what is new, and do so again. */
async function follow() {
  const began = performance.now();
  try {
    const { file, evaluations: told, counter } = await ask("state");
    seen.counter = counter;
    forgetOthers(file, told);
    await takeIn(told);
    byId("live").textContent = progress(told);
    byId("live").className = "soft";
  } catch (error) {
    byId("live").textContent = `not up to date: ${error instanceof Error ? error.message : error}`;
    byId("live").className = "bad";
  }
  const took = performance.now() - began; // of much that is there, the server is not asked all the time
  setTimeout(() => void follow(), Math.max(document.hidden ? SELDOM : OFTEN, 4 * took));
}

/** When each was begun: another file has others under the same numbers. @param {any[]} told @returns {Map<number, number>} */
function startsOf(told) {
  return new Map(told.map((each) => [each.id, each.started]));
}

/** Forget what is known of a file whose place another one has taken. @param {string | null} file @param {any[]} told */
function forgetOthers(file, told) {
  const started = startsOf(told);
  for (const id of [...known.keys()]) {
    if (file !== seen.file || seen.started.get(id) !== started.get(id)) known.delete(id);
  }
  if (file !== seen.file) seen.overview = seen.rows = "";
  seen.file = file;
  seen.started = started;
}

/** @param {any[]} told */
function progress(told) {
  const going = told.filter((each) => each.finished === null);
  if (told.length === 0) return "live: there is nothing yet";
  if (going.length === 0) return "live: all are finished";
  const rows = going.reduce((sum, each) => sum + each.stored, 0);
  return `live: ${going.length === 1 ? going[0].label : `${counted(going.length)} evaluations`} not finished, ${counted(rows)} rows so far`;
}

/** @param {any[]} told */
async function takeIn(told) {
  const now = JSON.stringify(told);
  if (!byId("overview").hidden && now !== seen.overview) {
    await showOverview();
    seen.overview = now;
  }
  if (now === seen.rows) return;
  const chosen = [byId("evaluation"), byId("beside")].map((select) => settings.evaluations.find((/** @type {Told} */ each) => String(each.id) === select.value)?.name);
  settings.evaluations = told;
  fillEvaluations();
  const [id, other] = chosen.map((name) => told.find((each) => each.name === name)?.id); // one that was started over has another number
  if (id !== undefined) byId("evaluation").value = String(id);
  byId("beside").value = other === undefined ? "" : String(other);
  await showNewRows(told);
  seen.rows = now;
}

/** The server has escaped what it says; and a parsed document runs no script. */
async function showOverview() {
  const answer = await fetch("overview", { cache: "no-store" });
  if (!answer.ok) throw new Error(`the server says ${answer.status}`);
  const parsed = new DOMParser().parseFromString(await answer.text(), "text/html");
  byId("overview").replaceChildren(...parsed.body.childNodes);
}

/** @param {any[]} told */
async function showNewRows(told) {
  if (told.length === 0 || (byId("rows").hidden && rows === null)) return;
  let isOther = false;
  for (const [id, promise] of [...known]) {
    const now = told.find((each) => each.id === id);
    const there = await promise;
    if (now === undefined) known.delete(id);
    else if (now.last > there.last) {
      await readIndex(there);
      isOther = true;
    }
    if (now !== undefined && there.length !== now.stored && there.last <= seen.counter) known.delete(id); // others count now, or some are gone
  }
  if (String(rows?.id) !== byId("evaluation").value || String(beside?.id ?? "") !== byId("beside").value || (rows && !known.has(rows.id))) {
    await choose();
  } else if (isOther) {
    if (beside) await readComparison();
    fillChoices();
    if (byId("text").value.trim() === "") refresh();
    else await search();
  }
}
