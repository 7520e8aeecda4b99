// The requests that were made in a row, where they were kept.

/** The requests in what is kept of them: each text is there once, and of a conversation only what is new. @param {any} kept @returns {Row[]} */
function requestsOf(kept) {
  const text = (/** @type {number | undefined} */ place) => (place === undefined ? null : kept.texts[place]);
  /** @type {Row[]} */
  const found = [];
  for (const each of kept.requests) {
    const [earlier, same] = each.after ?? [0, 0];
    const before = same ? found[earlier].messages.slice(0, same) : [];
    const params = Object.entries(each.params === undefined ? {} : kept.params[each.params]);
    found.push({
      ...each,
      begun: each.begun ?? 0,
      seconds: each.seconds ?? 0,
      messages: [...before, ...each.messages.map(text)],
      params: Object.fromEntries(params.map(([name, place]) => [name, kept.texts[place]])),
      model: text(each.model),
      reply: text(each.reply),
      details: text(each.details),
      error: text(each.error),
      usage: each.usage ? { input_tokens: each.usage[0], output_tokens: each.usage[1] } : null,
    });
  }
  return found;
}

/** @param {Row[]} requests @returns {Node[]} */
function shownRequests(requests) {
  if (requests.length === 0) return [];
  let number = 0;
  const shown = requests.map((request, place) => {
    number += request.left_out || 1;
    if (request.left_out) return element("p", { class: "soft" }, request.error);
    return shownRequest(request, number - 1, requests[place - 1]);
  });
  return [element("section", {}, element("h3", {}, "the requests that were made"), ...shown)];
}

/** One request; of messages that the one before had, too, only how many they are. @param {Row} request @param {number} place @param {Row | undefined} before */
function shownRequest(request, place, before) {
  const made = element("details", {}, element("summary", { dir: "auto", class: request.error ? "bad" : "" }, requestLine(request, place)));
  made.addEventListener("toggle", () => {
    if (made.childElementCount > 1) return; // it was opened before
    const same = before === undefined ? 0 : sameMessages(request.messages, before.messages);
    if (same > 0) made.append(element("p", { class: "soft" }, `${counted(same)} message${same === 1 ? "" : "s"} as before`));
    made.append(...request.messages.slice(same).map((/** @type {any} */ message) => (isMessage(message) ? shownMessage(message) : shownValue(message))));
    made.append(...part("reply", request.reply), ...part("of the reply", request.details), ...part("error", request.error, "bad"), ...part("sent with", request.params));
  });
  return made;
}

/** @param {Row} request @param {number} place */
function requestLine(request, place) {
  const usage = request.usage;
  return [
    `${counted(place + 1)}. ${request.model}${request.role ? ` as ${request.role}` : ""}`,
    `${shownSeconds(request.seconds)}, begun after ${shownSeconds(request.begun)}`,
    ...(usage ? [`${counted(usage.input_tokens)} tokens in, ${counted(usage.output_tokens)} out`] : []),
    ...(request.attempt > 1 ? [`attempt ${counted(request.attempt)}`] : []),
    ...(request.retries ? [`sent ${counted(request.retries + 1)} times`] : []),
    ...(request.from_cache ? ["from the cache"] : []),
    ...(request.error ? [request.error.slice(0, 200)] : []),
  ].join(" · ");
}

/** How many messages at the beginning are the same. @param {any[]} messages @param {any[]} others */
function sameMessages(messages, others) {
  let same = 0;
  while (same < messages.length && same < others.length && JSON.stringify(messages[same]) === JSON.stringify(others[same])) same++;
  return same;
}
