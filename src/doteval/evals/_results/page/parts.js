// Elements, whose texts are only ever set as texts; and numbers as a person writes them.

/** The element of an id. @param {string} id @returns {any} */
const byId = (id) => document.getElementById(id);

/** An element with attributes and children. @param {string} tag @param {Record<string, string>} attributes @param {...(Node | string)} children */
function element(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  made.append(...children);
  return made;
}

/** An element of a picture. @param {string} tag @param {Record<string, string | number>} attributes @param {...(Node | string)} children */
function drawn(tag, attributes = {}, ...children) {
  const made = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, String(value));
  made.append(...children);
  return made;
}

/** A button that does something. @param {string} text @param {() => void} action @param {Record<string, string>} attributes */
function button(text, action, attributes = {}) {
  const made = element("button", { type: "button", ...attributes }, text);
  made.addEventListener("click", action);
  return made;
}

/** A whole number. @param {number} count */
const counted = (count) => count.toLocaleString("en");

/** A number with four digits, and no exponent unless it is huge or tiny. @param {number} value */
function shownNumber(value) {
  const size = Math.abs(value);
  if (size >= 1e12 || (size > 0 && size < 1e-4)) return value.toExponential(2);
  if (size >= 1000) return value.toLocaleString("en", { maximumFractionDigits: 1 });
  // More digits where it would look like a whole number and is none.
  for (let digits = 4; digits < MOST_DIGITS; digits++) {
    const rounded = Number(value.toPrecision(digits));
    if (!looksCertain(rounded, value)) return value.toLocaleString("en", { maximumSignificantDigits: digits });
  }
  return value.toLocaleString("en", { maximumSignificantDigits: 4 });
}

const MOST_DIGITS = 13;

/** Whether a number is shown as a whole one and is none, not even but for rounding. @param {number} shown @param {number} value */
const looksCertain = (shown, value) => Number.isInteger(shown) && Math.abs(shown - value) > 1e-12 * Math.max(1, Math.abs(value));

/** A share in percent, with as many digits as tell it from none and from all. @param {number} share */
function shownShare(share) {
  for (let digits = 1; digits < MOST_DIGITS; digits++) {
    const text = (100 * share).toFixed(digits);
    if (!([0, 100].includes(Number(text)) && looksCertain(Number(text), 100 * share))) return `${text}%`;
  }
  return `${(100 * share).toFixed(1)}%`;
}

/** A difference. @param {number} value */
const shownDifference = (value) => `${value > 0 ? "+" : value < 0 ? "−" : "±"}${shownNumber(Math.abs(value))}`;

/** A score. @param {number | boolean | null} score */
function shownScore(score) {
  if (score === null) return "";
  return typeof score === "boolean" ? (score ? "yes" : "no") : shownNumber(score);
}

/** A time in a unit that suits it. @param {number | null} seconds */
function shownSeconds(seconds) {
  if (seconds === null) return "";
  if (seconds < 0.9995) return `${shownNumber(Number((1000 * seconds).toPrecision(3)))} ms`;
  if (seconds < 119.5) return `${shownNumber(Number(seconds.toPrecision(3)))} s`;
  const minutes = Math.floor(Math.round(seconds) / 60);
  return minutes < 120 ? `${minutes} min ${Math.round(seconds) % 60} s` : `${counted(Math.floor(minutes / 60))} h ${minutes % 60} min`;
}

/** An amount of money, whatever it is. @param {number | null} amount */
function shownAmount(amount) {
  if (amount === null) return "";
  const digits = amount === 0 || amount >= 100 ? 2 : Math.min(8, Math.max(2, 2 - Math.floor(Math.log10(amount))));
  return amount.toLocaleString("en", { minimumFractionDigits: digits, maximumFractionDigits: digits });
}

/** A choice of texts; each has a value and what is shown. @param {HTMLSelectElement} select @param {[string, string][]} options @param {string} chosen */
function fillChoice(select, options, chosen) {
  select.replaceChildren(...options.map(([value, text]) => element("option", { value }, text)));
  select.value = options.some(([value]) => value === chosen) ? chosen : (options[0]?.[0] ?? "");
}
