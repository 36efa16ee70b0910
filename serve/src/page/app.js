"use strict";
// The page of `dnc-run serve`. Its state is in the address, except for images that the user brought, which stay in the browser.
const one = (selector, root = document) => root.querySelector(selector);
const all = (selector, root = document) => [...root.querySelectorAll(selector)];

/** An element with properties and children; text is never read as HTML. */
function make(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (name in element && name !== "list") element[name] = value;
    else element.setAttribute(name, value);
  }
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
}

/** Asks the server. A refusal is an error with its reason. */
async function ask(path, parameters = {}, options = {}) {
  const query = new URLSearchParams(Object.entries(parameters).filter(([, value]) => value !== null && value !== undefined && value !== ""));
  const response = await fetch(`${path}?${query}`, options);
  const answer = await response.json().catch(() => ({ error: `${response.status} ${response.statusText}` }));
  if (!response.ok) throw new Error(answer.error ?? response.statusText);
  return answer;
}

function tell(text, bad = false) {
  one("#told").textContent = text;
  one("#told").classList.toggle("bad", bad);
}
const complain = (error) => tell(error.message, true);
const picture = (run, id, size = "thumbnail") => `api/image/${id}?${new URLSearchParams({ run, size })}`;

// ---- State, and the address.

const state = {
  view: "search",
  /** Models side by side, each with a weight per learner, or null for the whole embedding. */
  models: [],
  /** What is searched for: an id, or a file with a name of its own. */
  id: null, file: null,
  /** Part of the image as left, top, right and bottom, from 0 to 1. */
  crop: null,
  positive: [], negative: [], k: 24,
  /** The run of the report, and the run that is watched. */
  reported: null, watched: null,
};
let runs = [];
/** Names of the runs that are served, in order. */
let names = [];
let readOnly = true;
const corrected = new Map();
const served = () => names.map((name) => runs.find((run) => run.run === name)).filter((run) => run?.search && !run.search.problem);
const searchOf = (name) => runs.find((run) => run.run === name)?.search;
/** Whether an id means the same image in both runs. */
const haveSameImages = (a, b) => searchOf(a)?.images_digest === searchOf(b)?.images_digest;

function address() {
  const query = new URLSearchParams();
  const put = (name, value) => value !== null && value !== "" && query.set(name, value);
  if (state.view === "search") {
    for (const model of state.models) {
      query.append("run", model.run);
      query.append("w", model.weights?.join(",") ?? "");
    }
    put("id", state.id);
    if (state.file === null) put("crop", state.crop?.map((side) => side.toFixed(4)).join(",") ?? null);
    put("like", state.positive.join(","));
    put("unlike", state.negative.join(","));
    put("k", state.k);
  }
  if (state.view === "report") put("run", state.reported);
  if (state.view === "runs") put("run", state.watched);
  const text = query.toString();
  return `#${state.view}${text ? `?${text}` : ""}`;
}
function remember(push = false) {
  if (address() === location.hash) return;
  history[push ? "pushState" : "replaceState"](null, "", address());
}
function recall() {
  const [view, text = ""] = location.hash.slice(1).split("?");
  const query = new URLSearchParams(text);
  const numbers = (name) => (query.get(name) ?? "").split(",").filter(Boolean).map(Number).filter(Number.isFinite);
  state.view = ["search", "report", "runs"].includes(view) ? view : "search";
  if (state.view === "report") state.reported = query.get("run");
  if (state.view === "runs") state.watched = query.get("run");
  if (state.view !== "search" || !text) return;
  const weights = query.getAll("w");
  const models = query.getAll("run").map((run, at) => ({ run, weights: weights[at] ? weights[at].split(",").map(Number) : null }));
  state.models = models.filter((model) => served().some((run) => run.run === model.run))
    .filter((model, at, [first]) => haveSameImages(model.run, first.run)).slice(0, 2);
  state.id = query.has("id") ? Number(query.get("id")) : null;
  if (state.id !== null) state.file = null;
  const crop = numbers("crop");
  if (state.file === null) state.crop = crop.length === 4 ? crop : null;
  [state.positive, state.negative] = [numbers("like"), numbers("unlike")];
  state.k = Math.min(200, Math.max(1, Number(query.get("k")) || 24));
}

// ---- Search.

/** Embeddings of the image that is searched for, by model and part, so that sliders do not compute them again. */
const vectors = new Map();
/** Sizes of the images that were searched for, by model: one may decode the same image to another size than the other. */
const sizes = new Map();

/** A crop in pixels of an image of this size. */
function pixels([left, top, right, bottom], [width, height]) {
  const [x, y] = [Math.floor(left * width), Math.floor(top * height)];
  const across = Math.max(1, Math.min(width - x, Math.round((right - left) * width)));
  return [Math.min(x, width - 1), Math.min(y, height - 1), across, Math.max(1, Math.min(height - y, Math.round((bottom - top) * height)))].join(",");
}

/** The embedding that a model gives the image, or null if it is a whole image of the run. */
async function vectorOf(run) {
  // The state may change while the server answers.
  const { id, file, crop } = state;
  if (file === null && crop === null) return null;
  const subject = file === null ? id : file.name;
  const key = JSON.stringify([run, subject, crop]);
  if (vectors.has(key)) return vectors.get(key);
  const size = JSON.stringify([run, subject]);
  let answer;
  if (file !== null) {
    // The size after decoding is known from a first answer; until then the whole image is embedded.
    if (!sizes.has(size) || crop === null) {
      answer = await ask("api/embed", { run }, { method: "POST", body: file.blob });
      sizes.set(size, answer.size);
      vectors.set(JSON.stringify([run, subject, null]), answer.vector);
    }
    if (crop !== null) answer = await ask("api/embed", { run, crop: pixels(crop, sizes.get(size)) }, { method: "POST", body: file.blob });
  } else {
    if (!sizes.has(size)) sizes.set(size, (await ask("api/search", { run, positive: id, k: 1 })).size);
    answer = await ask("api/search", { run, positive: id, crop: pixels(crop, sizes.get(size)), k: 1, vector: true });
  }
  if (vectors.size > 200) vectors.clear();
  vectors.set(key, answer.vector);
  return answer.vector;
}

async function searchIn(model) {
  const vector = await vectorOf(model.run);
  const whole = state.file === null && state.crop === null && state.id !== null ? [state.id] : [];
  const positive = [...whole, ...state.positive];
  if (vector === null && positive.length === 0) return null;
  const parameters = {
    run: model.run, k: state.k, weights: model.weights?.join(","), positive: positive.join(","), negative: state.negative.join(","),
  };
  const body = vector && { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(vector) };
  return ask("api/search", parameters, body ?? {});
}

let searching = false;
let again = false;
/** Searches with all models. While a search is under way, only the last of further ones is done. */
async function search() {
  remember();
  again = searching;
  if (searching) return;
  searching = true;
  const begun = performance.now();
  all(".results").forEach((results) => results.classList.add("stale"));
  try {
    const answers = await Promise.all(state.models.map(searchIn));
    showAnswers(answers);
    if (answers.some(Boolean)) tell(`${Math.round(performance.now() - begun)} ms`);
  } catch (error) {
    complain(error);
    all(".results").forEach((results) => results.classList.remove("stale"));
  }
  searching = false;
  if (again) search();
}

function figure(model, hit, classOfQuery) {
  const { run } = model;
  const known = classOfQuery !== null && hit.id !== state.id;
  const fixed = corrected.get(`${run}/${hit.id}`);
  const share = hit.share_right ?? null;
  const bar = make("i");
  if (share !== null) bar.style.width = `${share * 100}%`;
  const act = (title, sign, click) => make("button", { type: "button", title, ariaLabel: title, textContent: sign, onclick: click });
  return make("figure", { className: known ? (hit.class === classOfQuery ? "right" : "wrong") : "" },
    make("button", { className: "p", type: "button", title: `${hit.source}\nSearch for this image`, onclick: () => searchFor(hit.id) },
      make("img", { src: picture(run, hit.id), alt: hit.class })),
    make("div", { className: "acts" },
      act("More like this", "+", () => choose("positive", hit.id)),
      act("Less like this", "−", () => choose("negative", hit.id)),
      readOnly ? null : act("Correct the class", "✎", () => correct(run, hit))),
    make("figcaption", {}, make("b", { textContent: hit.class, title: hit.class }),
      hit.distance === undefined ? null : hit.distance.toFixed(3),
      share === null ? null : make("span", { className: "share", title: `${Math.round(share * 100)} % of neighbours at this distance are right` }, bar),
      share === null ? null : `${Math.round(share * 100)} %`,
      fixed === undefined ? null : make("div", { className: "fixed", textContent: fixed ? `→ ${fixed}` : "→ no class" })));
}

function showAnswers(answers) {
  const asked = state.id !== null || state.file !== null || state.positive.length > 0;
  state.models.forEach((model, at) => {
    const column = one(`#columns > .column:nth-child(${at + 1})`);
    const answer = answers[at];
    const search = searchOf(model.run);
    const query = answer?.neighbours.find((hit) => hit.id === state.id && hit.distance === 0);
    const classOfQuery = state.file === null && state.crop === null ? query?.class ?? null : null;
    const vote = one(".vote", column);
    vote.replaceChildren();
    if (!answer) vote.append(`${search.images} images of ${search.classes.length} classes. Search for an image of your own, or click one of these.`);
    else if (answer.nothing_near) vote.append(make("b", { textContent: "Nothing near" }), ": fewer than 5 % of neighbours at this distance are right");
    else if (answer.vote) {
      const { vote: found } = answer;
      const known = found.share_right === null ? "" : `; at these distances ${Math.round(found.share_right * 100)} % of neighbours are right`;
      vote.append(make("b", { textContent: found.class }), ` ${found.count} of ${answer.neighbours.length}${known}`);
    }
    const hits = answer ? answer.neighbours : search.examples.map((id) => ({ id, class: "", source: "" }));
    const results = one(".results", column);
    results.classList.remove("stale");
    results.replaceChildren(...hits.map((hit) => figure(model, hit, classOfQuery)));
    if (at === 0) one("#legend").hidden = classOfQuery === null;
  });
  one("#clear").hidden = !asked;
}

/** Builds the columns of the models, with their sliders. */
function showModels() {
  const column = (model) => {
    const { learners } = searchOf(model.run);
    const sliders = make("div", { className: "sliders", hidden: learners < 2 });
    const whole = make("button", { type: "button", textContent: "Whole embedding", onclick: () => { model.weights = null; refresh(); search(); } });
    const inputs = Array.from({ length: learners }, (_, learner) => make("input", {
      type: "range", min: 0, max: 1, step: 0.05, title: `Weight of learner ${learner}`, ariaLabel: `Weight of learner ${learner}`,
      oninput: () => {
        const weights = inputs.map((input) => Number(input.value));
        if (weights.every((weight) => weight === 0)) weights[learner] = 0.05;
        model.weights = weights;
        refresh();
        search();
      },
    }));
    const refresh = () => {
      sliders.classList.toggle("whole", model.weights === null);
      whole.ariaPressed = String(model.weights === null);
      inputs.forEach((input, learner) => { input.value = model.weights?.[learner] ?? 1; });
    };
    sliders.append(whole, ...inputs.map((input, learner) => make("label", {}, `Learner ${learner}`, input)));
    if (model.weights?.length !== learners) model.weights = null;
    refresh();
    return make("div", { className: "column" }, make("h2", { textContent: model.run }), make("p", { className: "vote" }), sliders, make("div", { className: "results" }));
  };
  one("#columns").replaceChildren(...state.models.map(column));
  const option = (run, text = run) => make("option", { value: run, textContent: text });
  const models = served().map((run) => run.run);
  one("#run").replaceChildren(...models.map((name) => option(name)));
  one("#run").value = state.models[0]?.run ?? "";
  const others = models.filter((name) => haveSameImages(name, state.models[0].run));
  one("#beside").replaceChildren(option("", "no other"), ...others.map((name) => option(name)));
  one("#beside").value = state.models[1]?.run ?? "";
  one("#k").value = state.k;
}

function showQuery() {
  const { id, file } = state;
  const has = id !== null || file !== null;
  one("#frame").hidden = !has;
  one("#invite").hidden = has;
  one("#drop").classList.toggle("filled", has);
  const source = file ? file.url : has ? picture(state.models[0].run, id, "full") : "";
  if (has && one("#shown").getAttribute("src") !== source) one("#shown").src = source;
  one("#hint").hidden = !has;
  showBox();
  for (const [kind, ids] of [["positive", state.positive], ["negative", state.negative]]) {
    const list = one(`#${kind}s`);
    list.hidden = ids.length === 0;
    one("div", list).replaceChildren(...ids.map((chosen) => make("button", { type: "button", title: "Take it out", onclick: () => choose(kind, chosen) },
      make("img", { src: picture(state.models[0].run, chosen), alt: "" }))));
  }
  one("#examples-of").hidden = state.positive.length + state.negative.length === 0;
}

function searchFor(id) {
  [state.id, state.file, state.crop] = [id, null, null];
  remember(true);
  showQuery();
  search();
}
function searchForFile(blob) {
  if (!blob) return;
  if (state.file) URL.revokeObjectURL(state.file.url);
  state.file = { blob, url: URL.createObjectURL(blob), name: `${blob.name ?? "pasted"} ${performance.now()}` };
  [state.id, state.crop] = [null, null];
  if (state.view !== "search") { state.view = "search"; showView(); }
  showQuery();
  search();
}
function choose(kind, id) {
  const list = state[kind];
  const other = kind === "positive" ? "negative" : "positive";
  state[kind] = list.includes(id) ? list.filter((known) => known !== id) : [...list, id];
  state[other] = state[other].filter((known) => known !== id);
  showQuery();
  search();
}
function clear() {
  Object.assign(state, { id: null, file: null, crop: null, positive: [], negative: [] });
  remember(true);
  showQuery();
  search();
}

// ---- The crop box.

function showBox() {
  const box = one("#box");
  box.hidden = state.crop === null;
  one("#uncrop").hidden = state.crop === null;
  if (state.crop === null) return;
  const [shown, frame] = [one("#shown").getBoundingClientRect(), one("#frame").getBoundingClientRect()];
  const [left, top, right, bottom] = state.crop;
  box.style.left = `${shown.left - frame.left + left * shown.width}px`;
  box.style.top = `${shown.top - frame.top + top * shown.height}px`;
  box.style.width = `${(right - left) * shown.width}px`;
  box.style.height = `${(bottom - top) * shown.height}px`;
}
function watchBox() {
  const frame = one("#frame");
  let start = null;
  const at = (event) => {
    const shown = one("#shown").getBoundingClientRect();
    const within = (value) => Math.min(1, Math.max(0, value));
    return [within((event.clientX - shown.left) / shown.width), within((event.clientY - shown.top) / shown.height)];
  };
  frame.addEventListener("pointerdown", (event) => {
    event.preventDefault();
    frame.setPointerCapture(event.pointerId);
    start = { point: at(event), crop: event.target.id === "box" ? state.crop : null };
  });
  frame.addEventListener("pointermove", (event) => {
    if (!start) return;
    const [x, y] = at(event);
    const [fromX, fromY] = start.point;
    if (start.crop) {
      const [left, top, right, bottom] = start.crop;
      const across = Math.min(1 - right, Math.max(-left, x - fromX));
      const down = Math.min(1 - bottom, Math.max(-top, y - fromY));
      state.crop = [left + across, top + down, right + across, bottom + down];
    } else {
      const crop = [Math.min(x, fromX), Math.min(y, fromY), Math.max(x, fromX), Math.max(y, fromY)];
      if (crop[2] - crop[0] < 0.04 || crop[3] - crop[1] < 0.04) return;
      state.crop = crop;
    }
    showBox();
    search();
  });
  const end = () => { start = null; };
  frame.addEventListener("pointerup", end);
  frame.addEventListener("pointercancel", end);
  one("#shown").addEventListener("load", showBox);
  addEventListener("resize", showBox);
}

// ---- Labels.

async function correct(run, hit) {
  const dialog = one("#label");
  one("#label-image").src = picture(run, hit.id);
  one("#label-was").textContent = `${hit.source}: ${hit.class}`;
  one("#label-class").value = corrected.get(`${run}/${hit.id}`) ?? "";
  one("#classes").replaceChildren(...searchOf(run).classes.map((value) => make("option", { value })));
  dialog.returnValue = "cancel";
  dialog.showModal();
  await new Promise((resolve) => dialog.addEventListener("close", resolve, { once: true }));
  const written = one("#label-class").value.trim();
  const choice = dialog.returnValue;
  if (choice === "cancel" || (choice === "save" && !written)) return;
  const value = { save: written, none: "", undo: null }[choice];
  try {
    keep(await ask("api/labels", { run }, {
      method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify({ id: hit.id, class: value }),
    }));
    tell("Written to labels.csv");
    search();
  } catch (error) {
    complain(error);
  }
}
function keep({ run, labels }) {
  for (const key of [...corrected.keys()]) if (key.startsWith(`${run}/`)) corrected.delete(key);
  for (const label of labels) corrected.set(`${run}/${label.id}`, label.class);
}

// ---- Reports and runs.

function showReport() {
  const select = one("#reported");
  select.replaceChildren(...runs.map((run) => make("option", { value: run.run, textContent: run.run })));
  state.reported = runs.some((run) => run.run === state.reported) ? state.reported : state.models[0]?.run ?? runs[0]?.run;
  if (!state.reported) return;
  select.value = state.reported;
  const source = `report?${new URLSearchParams({ run: state.reported })}`;
  one("#alone").href = source;
  if (one("#page").getAttribute("src") !== source) one("#page").src = source;
  remember();
}

/** A line through the values, with a point at the last. */
function sparkline(values) {
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  const put = (name, attributes) => {
    const part = document.createElementNS(svg.namespaceURI, name);
    Object.entries(attributes).forEach(([key, value]) => part.setAttribute(key, value));
    svg.append(part);
  };
  const [least, most] = [Math.min(...values), Math.max(...values)];
  const point = (value, at) => [2 + at * 66 / Math.max(1, values.length - 1), 17 - (value - least) / (most - least || 1) * 14];
  svg.setAttribute("class", "spark");
  svg.setAttribute("width", 70);
  svg.setAttribute("height", 20);
  put("path", { d: values.map((value, at) => `${at ? "L" : "M"}${point(value, at).map((side) => side.toFixed(1)).join(" ")}`).join("") });
  const [cx, cy] = point(values.at(-1), values.length - 1);
  put("circle", { cx, cy, r: 2.4 });
  return svg;
}
const number = (value, decimals = 1) => value === null || value === undefined ? "" : value.toFixed(decimals);

function showRuns() {
  const row = (run) => {
    const values = run.rounds.map((round) => round.value);
    const rounds = make("td", { title: run.rounds.map((round) => `round ${round.round}, K = ${round.learners}: ${run.metric} ${round.value.toFixed(4)}`).join("\n") });
    if (values.length) rounds.append(sparkline(values));
    const watch = (event) => { event.preventDefault(); state.watched = run.run; remember(true); watchRun(); };
    return make("tr", {},
      make("td", {}, make("a", { href: `#runs?run=${encodeURIComponent(run.run)}`, textContent: run.run, onclick: watch })),
      make("td", {}, make("span", { className: `state ${run.state}`, textContent: run.state })),
      make("td", { textContent: run.started === null ? "" : new Date(run.started * 1000).toLocaleString() }),
      make("td", { className: "n", textContent: number(run.seconds) }),
      rounds, make("td", { textContent: run.result ?? "" }), make("td", { textContent: run.overrides.join(" ") }));
  };
  one("#list tbody").replaceChildren(...runs.map(row));
  watchRun();
}

let timer = null;
/** Shows how far a run is, and asks again while it goes on. */
async function watchRun() {
  clearTimeout(timer);
  if (state.view !== "runs" || !state.watched) return one("#detail").replaceChildren();
  try {
    const found = await ask("api/state", { run: state.watched });
    if (state.watched !== found.run) return;
    const done = found.nodes.filter((node) => !["waiting", "running"].includes(node.state)).length;
    const bar = make("i");
    bar.style.width = `${100 * done / Math.max(1, found.nodes.length)}%`;
    const row = (node) => make("tr", {}, make("td", { textContent: node.node }), make("td", { textContent: node.stage }),
      make("td", {}, make("span", { className: `state ${node.state}`, textContent: node.state })),
      make("td", { className: "n", textContent: number(node.began) }), make("td", { className: "n", textContent: number(node.seconds, 2) }),
      make("td", { className: "bad", textContent: node.error ?? "" }));
    const heading = ["Node", "Stage", "State", "Began (s)", "Took (s)", ""].map((text, at) => make("th", { textContent: text, className: at === 3 || at === 4 ? "n" : "" }));
    one("#detail").replaceChildren(
      make("h2", { textContent: found.run }),
      make("p", { className: "caption", textContent: `${found.state}: ${done} of ${found.nodes.length} nodes after ${number(found.seconds)} s` }),
      make("div", { className: "bar" }, bar),
      make("div", { className: "scroll" }, make("table", {}, make("thead", {}, make("tr", {}, ...heading)), make("tbody", {}, ...found.nodes.map(row)))));
    if (found.state === "running") timer = setTimeout(watchRun, 2000);
    else if (runs.find((run) => run.run === found.run)?.state === "running") await load().then(showRuns);
  } catch (error) {
    complain(error);
    timer = setTimeout(watchRun, 5000);
  }
}

// ---- The whole page.

function showView() {
  for (const view of all(".view")) view.hidden = view.id !== state.view;
  for (const link of all("header nav a")) link.classList.toggle("here", link.dataset.view === state.view);
  if (state.view === "report") showReport();
  if (state.view === "runs") load().then(showRuns, complain);
}
async function load() {
  const answer = await ask("api/runs");
  runs = answer.runs;
  names = answer.served;
  readOnly = answer.read_only;
}
function showSearch() {
  if (state.models.length === 0) {
    const why = runs.find((run) => run.search?.problem)?.search.problem ?? "No run can be searched.";
    one("#columns").replaceChildren(make("p", { className: "empty", textContent: why }));
    return;
  }
  showModels();
  showQuery();
  search();
}
function show() {
  recall();
  if (state.models.length === 0) state.models = served().slice(0, 1).map((run) => ({ run: run.run, weights: null }));
  showView();
  if (state.view === "search") showSearch();
}
function useModels(chosen) {
  const weights = (name) => state.models.find((model) => model.run === name)?.weights ?? null;
  // Images of the run before are not images of a run over others.
  if (!haveSameImages(chosen[0], state.models[0].run)) {
    Object.assign(state, { id: null, crop: state.file && state.crop, positive: [], negative: [] });
  }
  state.models = chosen.filter((run) => run && haveSameImages(run, chosen[0])).map((run) => ({ run, weights: weights(run) }));
  showSearch();
}

async function start() {
  try {
    await load();
  } catch (error) {
    return complain(error);
  }
  watchBox();
  const drop = document.body;
  drop.addEventListener("dragover", (event) => { event.preventDefault(); one("#drop").classList.add("over"); });
  drop.addEventListener("dragleave", () => one("#drop").classList.remove("over"));
  drop.addEventListener("drop", (event) => {
    event.preventDefault();
    one("#drop").classList.remove("over");
    searchForFile([...event.dataTransfer.files].find((file) => file.type.startsWith("image/")));
  });
  addEventListener("paste", (event) => searchForFile([...event.clipboardData.files].find((file) => file.type.startsWith("image/"))));
  one("#file").addEventListener("change", (event) => { searchForFile(event.target.files[0]); event.target.value = ""; });
  one("#clear").addEventListener("click", clear);
  one("#uncrop").addEventListener("click", () => { state.crop = null; showBox(); search(); });
  one("#k").addEventListener("change", (event) => { state.k = Math.min(200, Math.max(1, Number(event.target.value) || 24)); search(); });
  one("#run").addEventListener("change", (event) => useModels([event.target.value, state.models[1]?.run]));
  one("#beside").addEventListener("change", (event) => useModels([state.models[0].run, event.target.value]));
  one("#reported").addEventListener("change", (event) => { state.reported = event.target.value; showReport(); });
  for (const link of all("header nav a")) {
    link.addEventListener("click", (event) => {
      event.preventDefault();
      state.view = link.dataset.view;
      remember(true);
      showView();
      if (state.view === "search") showSearch();
    });
  }
  addEventListener("popstate", show);
  for (const run of served()) ask("api/labels", { run: run.run }).then(keep, complain);
  show();
}
start();
