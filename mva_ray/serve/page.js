"use strict";

// The page of a run: wishes as sliders, a way for those who have none, several mixtures side by side. Beside it are
// plots.js, the front as plots and a table, and watch.js, runs that are at work. In a file that was saved
// (serve/bundle.py) the server's answers are recorded, and nothing is asked.

const $ = (id) => document.getElementById(id);
const recording = $("recording") ? JSON.parse($("recording").textContent) : null;
const MOST_BESIDE = 4, WAIT_MS = 150, PROMPTS = 10, MOVING = "as you move";
const DASHES = "\u2013";
const state = {
  runs: [], run: null, rows: [], front: [], everything: false, chosen: null, wishes: {}, beside: [], asking: null,
  brush: null, ranges: {}, way: [], walk: null,
};
let token = recording ? null : sessionStorage.getItem("token");

// ---- asking the server

async function fetched(path, options = {}) {
  const headers = { ...(options.headers || {}), ...(token ? { authorization: `Bearer ${token}` } : {}) };
  const answer = await fetch(path, { ...options, headers });
  if (answer.status === 401) { await login(); return fetched(path, options); }
  if (!answer.ok) {
    const body = await answer.json().catch(() => null);
    throw new Error(body?.error?.message ?? `${path}: ${answer.status}`);
  }
  return answer;
}

async function asked(path, parameters = {}) {
  const query = new URLSearchParams(parameters);
  query.sort();
  if (!recording) return (await fetched(`${path}?${query}`)).json();
  const answer = recording[`${path}?${query}`];
  if (answer === undefined) throw new Error("that is not in this file: ask the server it was saved from");
  return answer;
}

const ofRun = (path, parameters) => asked(`/api/v1/runs/${encodeURIComponent(state.run.name)}${path}`, parameters);

function login() {
  return new Promise((resolve) => {
    $("login").addEventListener("close", () => {
      token = $("token").value;
      sessionStorage.setItem("token", token);
      resolve();
    }, { once: true });
    $("login").showModal();
  });
}

function told(problem) {
  $("problem").textContent = problem ? String(problem.message ?? problem) : "";
  $("problem").hidden = !problem;
}

const safely = (work) => async (...given) => {
  try { told(null); return await work(...given); } catch (problem) { told(problem); return undefined; }
};

// ---- small things

function element(name, content = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, given] of Object.entries(content)) {
    if (key in made) made[key] = given; else made.setAttribute(key, given);
  }
  made.append(...children);
  return made;
}

const number = (given) => (given === null || given === undefined ? DASHES : Number(given).toPrecision(3));
const mean = (row, value) => row.rewards[value]?.mean ?? null;
const mixture = (weights) =>
  Object.entries(weights).map(([name, weight]) => `${name} ${Number(weight).toFixed(2)}`).join(", ");

function soon(work) {
  let waiting;
  return (...given) => { clearTimeout(waiting); waiting = setTimeout(() => work(...given), WAIT_MS); };
}

// ---- the address keeps what is looked at

function remember() {
  const kept = new URLSearchParams({ run: state.run.name });
  if (state.everything) kept.set("all", "1");
  if (state.chosen) kept.set("chosen", state.chosen);
  if (Object.keys(state.wishes).length) kept.set("at", wishText());
  if (state.way.length) kept.set("way", state.way.join(","));
  if (state.beside.length) kept.set("beside", JSON.stringify(state.beside));
  history.replaceState(null, "", `#${kept}`);
}

function recall() {
  const kept = new URLSearchParams(location.hash.slice(1));
  state.everything = kept.has("all");
  state.chosen = kept.get("chosen");
  state.way = (kept.get("way") ?? "").split(",").filter(Boolean);
  for (const part of (kept.get("at") ?? "").split(",").filter(Boolean)) {
    const [value, level] = part.split("=");
    state.wishes[value] = Number(level);
  }
  try { state.beside = JSON.parse(kept.get("beside") ?? "[]").slice(0, MOST_BESIDE); } catch { state.beside = []; }
  return kept.get("run");
}

const wishText = () => Object.entries(state.wishes).map(([value, level]) => `${value}=${level}`).join(",");

// ---- the run

async function begin() {
  if (recording) for (const one of document.querySelectorAll(".online")) one.hidden = true;
  const wanted = recall();
  $("everything").checked = state.everything;
  $("run").onchange = safely(() => turnTo($("run").value));
  await listRuns();
  state.run = state.runs.find((run) => run.name === wanted) ?? state.runs[0];
  await show();
  if (!recording) await explorations();
}

async function listRuns() {
  state.runs = await asked("/api/v1/runs");
  $("run").replaceChildren(...state.runs.map((run) => element("option", { value: run.name, textContent: run.name })));
  if (state.run) {
    state.run = state.runs.find((run) => run.name === state.run.name) ?? state.runs[0];
    $("run").value = state.run.name;
  }
}

async function turnTo(name) {
  const run = state.runs.find((one) => one.name === name);
  Object.assign(state, { run, chosen: null, wishes: {}, beside: [], brush: null, ranges: {}, way: [], walk: null, rows: [], front: [] });
  await show();
}

async function show() {
  const { run } = state;
  $("run").value = run.name;
  $("unserved").textContent = `The models of ${run.name} answer when it is served: mva-ray serve ${run.place}`;
  $("unserved").hidden = run.served;
  for (const one of document.querySelectorAll(".talk")) one.hidden = !run.served;
  $("bundle").dataset.name = `${run.name}.html`;
  $("bundle").href = `/api/v1/runs/${encodeURIComponent(run.name)}/page`;
  $("unsure").open = state.way.length > 0;
  await read();
  sliders();
  mixers();
  await (state.chosen ? choose(state.chosen) : nearest());
  if (run.served) columns();
  await grow();
  follow();
}

const isSearched = () => Object.keys(state.run.coefficients).length > 0;

async function read() {
  const { rows } = isSearched() ? await ofRun("/evaluations", { all: true }) : { rows: [] };
  state.rows = rows.filter((row) => row.status !== "failed");
  state.front = state.rows.filter((row) => row.on_front);
}

// ---- wishes and mixtures

function slider(name, low, high, given, moved) {
  const id = `slider-${moved.name}-${name}`;
  const output = element("output", { textContent: number(given) });
  const input = element("input", { type: "range", id, min: low, max: high, step: (high - low) / 200 || 1, value: given });
  input.oninput = () => { output.textContent = number(input.value); moved(name, Number(input.value)); };
  return element("div", { className: "slider" }, element("label", { htmlFor: id, textContent: name }), input, output);
}

function sliders() {
  const wished = soon(safely(nearest));
  function wish(value, level) { state.wishes[value] = level; wished(); }
  $("wishes").replaceChildren(...(state.front.length ? state.run.values : []).map((value) => {
    const means = state.front.map((row) => mean(row, value));
    const low = Math.min(...means), high = Math.max(...means);
    state.wishes[value] ??= (low + high) / 2;
    return slider(value, low, high, state.wishes[value], wish);
  }));
}

const own = {};

function mixers() {
  function weigh(name, weight) { own[name] = weight; if ($("live").checked) moved(); }
  const names = Object.values(state.run.coefficients).flat();
  for (const name of Object.keys(own)) delete own[name];
  $("mixture").replaceChildren(...names.map((name) => { own[name] = 0; return slider(name, -1, 2, 0, weigh); }));
}

async function nearest() {
  if (!state.front.length) {
    $("facts").textContent = "There is no candidate on the front yet.";
    $("chosen").textContent = "none";
    $("recorded").replaceChildren();
    $("steps").replaceChildren();
    draw();
    remember();
    return;
  }
  if (recording) return choose(best());
  const { best: found, alternatives } = await ofRun("/evaluations", { at: wishText(), limit: 1 });
  return choose(found, alternatives);
}

// As `achievement` of maths/choice.py, which the server asks.
function best() {
  const spans = state.run.values.map((value) => {
    const means = state.front.map((row) => mean(row, value));
    return [value, Math.max(...means) - Math.min(...means)];
  }).filter(([, span]) => span > 0);
  const score = (row) => {
    const beyond = spans.map(([value, span]) => (mean(row, value) - state.wishes[value]) / span);
    return (beyond.length ? Math.min(...beyond) : 0) + 1e-6 * beyond.reduce((sum, one) => sum + one, 0);
  };
  return state.front.map((row) => [score(row), row]).reduce((one, other) => (other[0] > one[0] ? other : one))[1].candidate;
}

async function choose(candidate, alternatives = {}) {
  const row = state.rows.find((one) => one.candidate === candidate);
  if (!row) throw new Error(`there is no candidate ${candidate}`);
  state.chosen = candidate;
  $("chosen").textContent = candidate;
  const means = state.run.values.map((value) => `${value} ${number(mean(row, value))} \u00b1 ${number(row.rewards[value].se)}`);
  const near = Object.entries(alternatives).filter(([, other]) => other !== candidate)
    .map(([value, other]) => `${other} for more ${value}`);
  $("facts").textContent = `${means.join(", ")}. Mixture: ${mixture(row.coefficients)}.` +
    (row.knee ? " A knee: every move from here costs much." : "") + (near.length ? ` Near it: ${near.join(", ")}.` : "");
  $("export").dataset.name = `${state.run.name}-${candidate}.zip`;
  $("export").href = `/api/v1/runs/${encodeURIComponent(state.run.name)}/candidates/${encodeURIComponent(candidate)}/export`;
  await walk();
  draw();
  remember();
  await Promise.all([recorded(), steps(candidate)]);
}

// ---- a way for those who do not know what they want

async function walk() {
  state.walk = $("unsure").open && state.front.length ? await ofRun("/steps", { towards: state.way.join(",") }) : null;
  if (!state.walk) { $("way").replaceChildren(); return; }
  const { here, offered, left, taken, chosen } = state.walk;
  const head = ["", ...state.run.values.map((value) => `${value} (at best)`), "models in reach"];
  const line = (point, first) => element("tr", {}, element("td", {}, first), ...state.run.values.map((value) => element("td", {
    className: "number", textContent: `${number(point.means[value])} (${number(point.best[value])})`,
  })), element("td", { className: "number", textContent: point.reachable.length }));
  const first = line(here, chosen ? `arrived at ${chosen}` : "you are here");
  first.className = "here";
  const take = (point) => element("button", { type: "button", textContent: `Towards ${point.towards}`, onclick: safely(() => stepTo([...taken, point.towards])) });
  const back = element("button", { type: "button", textContent: "One step back", disabled: !taken.length, onclick: safely(() => stepTo(taken.slice(0, -1))) });
  $("way").replaceChildren(element("p", { textContent: left ? `Step ${taken.length + 1} of ${taken.length + left}` : "The end of the way" }),
    element("div", { className: "scroll" }, element("table", {}, element("thead", {}, element("tr", {}, ...head.map((text) => element("th", { textContent: text, scope: "col" })))),
      element("tbody", {}, first, ...offered.map((point) => line(point, take(point)))))), element("p", {}, back));
}

async function stepTo(way) {
  state.way = way;
  await walk();
  if (state.walk.chosen) await choose(state.walk.chosen); else { draw(); remember(); }
  $("way").querySelector("button:enabled")?.focus();
}

// ---- talking

function put(column) {
  state.beside = [...state.beside.filter((one) => one.title !== column.title), column].slice(-MOST_BESIDE);
  remember();
  columns();
}

function columns() {
  if (!state.beside.length) {
    state.beside = [{ title: "base", model: `${state.run.name}:base` }];
    if (state.chosen) state.beside.push({ title: state.chosen, model: `${state.run.name}:${state.chosen}` });
  }
  $("answers").replaceChildren(...state.beside.map((column, place) => {
    const away = element("button", {
      type: "button", textContent: "\u00d7", title: `Take ${column.title} away`, ariaLabel: `Take ${column.title} away`,
      onclick: () => { state.beside.splice(place, 1); remember(); columns(); },
    });
    return element("article", { ariaLabel: column.title },
      element("header", {}, element("h3", { textContent: column.title }), away),
      element("small", { textContent: column.mixture ? mixture(column.mixture) : column.model }),
      element("div", { className: "text", ariaLive: "polite" }), element("small", { className: "told" }));
  }));
}

async function answer() {
  state.asking?.abort();
  const asking = state.asking = new AbortController();
  $("stop").disabled = false;
  const places = [...$("answers").children];
  for (const place of places) { place.querySelector(".text").textContent = ""; place.querySelector(".told").textContent = ""; }
  await Promise.all(state.beside.map((column, at) => stream(column, places[at], asking.signal).catch((problem) => {
    if (problem.name !== "AbortError") places[at].querySelector(".told").textContent = problem.message;
  })));
  if (state.asking === asking) $("stop").disabled = true;
}

// The mixture of the sliders in a column of its own, which answers again after each move.
const moved = soon(safely(async () => {
  const column = { title: MOVING, model: state.run.name, mixture: { ...own } };
  if (!state.beside.some((one) => one.title === MOVING)) put(column);
  const at = state.beside.findIndex((one) => one.title === MOVING);
  state.beside[at] = column;
  remember();
  const place = $("answers").children[at];
  place.querySelector("small").textContent = mixture(own);
  place.querySelector(".text").textContent = "";
  state.moving?.abort();
  const moving = state.moving = new AbortController();
  $("stop").disabled = false;
  try { await stream(column, place, moving.signal); } catch (problem) { if (problem.name !== "AbortError") throw problem; }
}));

async function stream(column, place, signal) {
  const body = {
    model: column.model, stream: true, stream_options: { include_usage: true }, max_tokens: Number($("tokens").value),
    messages: [{ role: "user", content: $("prompt").value }], ...(column.mixture ? { mixture: column.mixture } : {}),
  };
  const answer = await fetched("/v1/chat/completions", {
    method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify(body), signal,
  });
  await events(answer, (text) => heard(text, place));
}

// The data of server-sent events, one at a time.
async function events(answer, heed) {
  const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
  for (let held = ""; ;) {
    const { value, done } = await reader.read();
    if (done) return;
    const whole = (held + value).split("\n\n");
    held = whole.pop();
    for (const event of whole) if (event.startsWith("data: ")) await heed(event.slice("data: ".length));
  }
}

function heard(text, place) {
  if (text === "[DONE]") return;
  const event = JSON.parse(text);
  if (event.error) throw new Error(event.error.message);
  place.querySelector(".text").textContent += event.choices[0]?.delta.content ?? "";
  if (event.usage) {
    place.querySelector(".told").textContent = `${event.usage.completion_tokens} tokens; ${mixture(event.mva_ray.mixture)}`;
  }
}

// ---- what was recorded

async function recorded() {
  others();
  await ($("other").value ? differences($("other").value) : completions());
}

function others() {
  const kept = $("other").value;
  const isThere = (name) => !recording || state.run.differences[state.chosen]?.includes(name);
  const names = state.rows.map((row) => row.candidate).filter((name) => name !== state.chosen && isThere(name));
  $("other").replaceChildren(element("option", { value: "", textContent: "nobody" }),
    ...names.map((name) => element("option", { value: name, textContent: name })));
  $("other").value = names.includes(kept) ? kept : "";
}

async function completions() {
  const row = state.rows.find((one) => one.candidate === state.chosen);
  const all = await ofRun(`/candidates/${encodeURIComponent(state.chosen)}/completions`, { split: row.split });
  const wanted = $("contains").value.toLowerCase();
  const found = all.filter((one) => `${one.prompt}\n${one.completion}`.toLowerCase().includes(wanted));
  texts(`${found.length} completions of ${state.chosen}`, ["prompt", "completion", ...state.run.values],
    found.map((one) => [one.prompt, one.completion, ...state.run.values.map((value) => one.rewards[value])]));
}

async function differences(other) {
  const [first, second] = recording ? [state.chosen, other].sort() : [state.chosen, other];  // recorded one way
  const found = await ofRun("/diff", { first, second, prompts: PROMPTS });
  const values = Object.entries(found.values).map(([value, { difference, p }]) =>
    `${value} ${number(difference.estimate)} (95 %: ${number(difference.low)} to ${number(difference.high)}, p ${number(p)})`);
  texts(`${first} minus ${second} on ${found.n_prompts} prompts: ${values.join("; ")}. ${found.same} answered alike. ` +
    "Where they differ most:", ["prompt", first, second], found.prompts.map((one) => [one.prompt, one.first, one.second]));
}

function texts(caption, head, rows) {
  const cell = (content) => (typeof content === "number"
    ? element("td", { className: "number", textContent: number(content) }) : element("td", { textContent: content }));
  const first = element("tr", {}, ...head.map((text) => element("th", { textContent: text, scope: "col" })));
  const lines = rows.map((row) => element("tr", {}, ...row.map(cell)));
  $("recorded").replaceChildren(element("p", { textContent: caption }), element("div", { className: "scroll" },
    element("table", {}, element("thead", {}, first), element("tbody", {}, ...lines))));
}

// ---- what a step from here costs

async function steps(candidate) {
  const row = state.front.find((one) => one.candidate === candidate);
  const found = row ? (await ofRun("/tradeoffs", { from: candidate })).steps : [];
  if (candidate === state.chosen) {
    $("steps").replaceChildren(...found.map((step) => element("li", { textContent: inWords(step, candidate) })));
  }
}

function inWords(step, candidate) {
  const there = step.start === candidate ? step.to : step.start;
  if (!step.told_apart) return `${there}: cannot be told apart from it`;
  return `${there}: ${step.rates.map(({ gained, lost, cost }) => `1 of ${gained} costs ${number(cost.estimate)} of ${lost} ` +
    `(95 %: ${number(cost.low)} to ${number(cost.high)})`).join(", ")}`;
}

addEventListener("DOMContentLoaded", () => {
  $("everything").onchange = () => { state.everything = $("everything").checked; draw(); remember(); };
  $("csv").onclick = csv;
  $("png").onclick = safely(png);
  $("unbrush").onclick = () => brushed(null, {});
  $("unsure").ontoggle = safely(async () => { await walk(); draw(); });
  $("growth").ontoggle = safely(grow);
  $("compare").onclick = () => put({ title: state.chosen, model: `${state.run.name}:${state.chosen}` });
  $("mix").onclick = () => put({ title: `mixture ${mixture(own)}`, model: state.run.name, mixture: { ...own } });
  $("live").onchange = () => { if ($("live").checked) moved(); };
  $("ask").onsubmit = (event) => { event.preventDefault(); safely(answer)(); };
  $("stop").onclick = () => { state.asking?.abort(); state.moving?.abort(); $("stop").disabled = true; };
  $("other").onchange = safely(recorded);
  $("contains").oninput = soon(safely(recorded));
  for (const id of ["export", "bundle"]) {
    $(id).onclick = (event) => { if (token) { event.preventDefault(); safely(save)($(id).href, event.target.dataset.name); } };
  }
  $("dry").onclick = safely(() => begun(true));
  $("start").onclick = safely(() => begun(false));
  $("file").onchange = safely(async () => { $("config").value = await $("file").files[0].text(); });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);
  safely(begin)();
});

function download(blob, name) {
  const link = element("a", { href: URL.createObjectURL(blob), download: name });
  link.click();
  URL.revokeObjectURL(link.href);
}

// What a link would load, where the server wants its token with it.
async function save(place, name) {
  download(await (await fetched(place)).blob(), name);
}
