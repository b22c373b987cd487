"use strict";

// The page of a served run: the front as a plot, wishes as sliders, and several mixtures side by side.

const $ = (id) => document.getElementById(id);
const MOST_BESIDE = 4, REFRESH_MS = 5000, WAIT_MS = 150;
const DASHES = "\u2013";
const state = { run: null, rows: [], front: [], everything: false, chosen: null, wishes: {}, beside: [], asking: null };
let token = sessionStorage.getItem("token");

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

const asked = async (path, parameters = {}) =>
  (await fetched(`${path}?${new URLSearchParams(parameters)}`)).json();

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
  if (state.beside.length) kept.set("beside", JSON.stringify(state.beside));
  history.replaceState(null, "", `#${kept}`);
}

function recall() {
  const kept = new URLSearchParams(location.hash.slice(1));
  state.everything = kept.has("all");
  state.chosen = kept.get("chosen");
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
  const runs = await asked("/api/v1/runs");
  $("run").replaceChildren(...runs.map((run) => element("option", { value: run.name, textContent: run.name })));
  const wanted = recall();
  state.run = runs.find((run) => run.name === wanted) ?? runs[0];
  $("run").value = state.run.name;
  $("run").onchange = safely(async () => {
    Object.assign(state, { run: runs.find((run) => run.name === $("run").value), chosen: null, wishes: {}, beside: [] });
    await show();
  });
  $("everything").checked = state.everything;
  await show();
  setInterval(safely(refresh), REFRESH_MS);
}

async function show() {
  await read();
  sliders();
  mixers();
  await (state.chosen ? choose(state.chosen) : nearest());
  columns();
}

async function refresh() {
  const before = state.rows.length;
  await progress();
  if (document.hidden) return;
  await read();
  if (state.rows.length !== before) draw();
}

async function progress() {
  const { status } = await ofRun("");
  const failed = status.failures.reduce((sum, failure) => sum + failure.count, 0);
  $("status").textContent = `${status.stage}: ${status.searched} of ${status.budget} candidates, ` +
    `${status.answers.toLocaleString()} answers` + (failed ? `, ${failed} failed` : "");
  return status;
}

async function read() {
  await progress();
  const { rows } = await ofRun("/evaluations", { all: true });
  state.rows = rows.filter((row) => row.status !== "failed");
  state.front = state.rows.filter((row) => row.on_front);
}

// ---- the plot, and the same as a table

const shown = () => (state.everything ? state.rows : state.front);

function draw() {
  const values = state.run.values;
  const style = getComputedStyle(document.body);
  const layout = {
    paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)", font: { color: style.color },
    margin: { l: 55, r: 15, t: 15, b: 45 }, showlegend: false, hovermode: "closest",
  };
  const figure = values.length <= 3 ? scatters(values, layout) : parallel(values, layout);
  Plotly.react("plot", figure, layout, { responsive: true, displaylogo: false });
  $("plot").removeAllListeners?.("plotly_click");
  $("plot").on?.("plotly_click", safely(async (event) => choose(event.points[0].customdata)));
  table(values);
}

function scatters(values, layout) {
  const pairs = values.length === 2 ? [[0, 1]] : [[0, 1], [0, 2], [1, 2]];
  if (pairs.length > 1) layout.grid = { rows: 1, columns: pairs.length, pattern: "independent" };
  return pairs.map(([x, y], place) => {
    const axis = place ? String(place + 1) : "";
    layout[`xaxis${axis}`] = { title: { text: values[x] }, zeroline: false };
    layout[`yaxis${axis}`] = { title: { text: values[y] }, zeroline: false };
    const rows = shown();
    const errors = (value) => ({ type: "data", array: rows.map((row) => row.rewards[value].se), thickness: 0.7, width: 0, color: "#8a8f98" });
    return {
      type: "scatter", mode: "markers", xaxis: `x${axis}`, yaxis: `y${axis}`,
      x: rows.map((row) => mean(row, values[x])), y: rows.map((row) => mean(row, values[y])),
      error_x: errors(values[x]), error_y: errors(values[y]),
      customdata: rows.map((row) => row.candidate),
      text: rows.map((row) => `${row.candidate}<br>${mixture(row.coefficients)}`), hoverinfo: "text+x+y",
      marker: {
        size: rows.map((row) => (row.candidate === state.chosen ? 17 : 9)),
        symbol: rows.map((row) => (row.knee ? "diamond" : row.on_front ? "circle" : row.feasible ? "circle-open" : "x")),
        color: rows.map((row) => (row.candidate === state.chosen ? "#d1495b" : row.on_front ? "#2563c9" : "#8a8f98")),
      },
    };
  });
}

function parallel(values, layout) {
  const rows = shown();
  const chosen = rows.map((row) => (row.candidate === state.chosen ? 1 : 0));
  layout.margin.t = 45;
  return [{
    type: "parcoords", customdata: rows.map((row) => row.candidate),
    line: { color: chosen, colorscale: [[0, "#8a8f98"], [1, "#d1495b"]], cmin: 0, cmax: 1 },
    dimensions: values.map((value) => ({ label: value, values: rows.map((row) => mean(row, value)) })),
  }];
}

function table(values) {
  const head = ["candidate", ...values, "coefficients"];
  $("rows").tHead.replaceChildren(element("tr", {}, ...head.map((text) => element("th", { textContent: text, scope: "col" }))));
  $("rows").tBodies[0].replaceChildren(...shown().map((row) => {
    const pick = element("button", { type: "button", textContent: row.candidate, onclick: safely(() => choose(row.candidate)) });
    const cells = values.map((value) => element("td", {
      className: "number", textContent: `${number(mean(row, value))} \u00b1 ${number(row.rewards[value]?.se)}`,
    }));
    const line = element("tr", {}, element("td", {}, pick), ...cells, element("td", { textContent: mixture(row.coefficients) }));
    line.setAttribute("aria-selected", String(row.candidate === state.chosen));
    return line;
  }));
}

function csv() {
  const values = state.run.values, names = values.flatMap((value) => state.run.coefficients[value]);
  const cells = (row) => [row.candidate, row.on_front, ...values.flatMap((value) => [mean(row, value), row.rewards[value]?.se]),
    ...names.map((name) => row.coefficients[name])];
  const head = ["candidate", "on_front", ...values.flatMap((value) => [value, `${value}_se`]), ...names.map((name) => `w_${name}`)];
  const quoted = (cell) => (/[",\n]/.test(String(cell)) ? `"${String(cell).replaceAll('"', '""')}"` : String(cell ?? ""));
  const text = [head, ...shown().map(cells)].map((line) => line.map(quoted).join(",")).join("\n");
  const link = element("a", { href: URL.createObjectURL(new Blob([`${text}\n`], { type: "text/csv" })), download: `${state.run.name}.csv` });
  link.click();
  URL.revokeObjectURL(link.href);
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
  $("wishes").replaceChildren(...state.run.values.map((value) => {
    const means = state.front.map((row) => mean(row, value));
    const low = Math.min(...means), high = Math.max(...means);
    state.wishes[value] ??= (low + high) / 2;
    return slider(value, low, high, state.wishes[value], wish);
  }));
}

const own = {};

function mixers() {
  function weigh(name, weight) { own[name] = weight; }
  const names = state.run.values.flatMap((value) => state.run.coefficients[value]);
  for (const name of Object.keys(own)) delete own[name];
  $("mixture").replaceChildren(...names.map((name) => { own[name] = 0; return slider(name, -1, 2, 0, weigh); }));
}

async function nearest() {
  if (!state.front.length) { $("facts").textContent = "There is no candidate on the front yet."; draw(); return; }
  const { best, alternatives } = await ofRun("/evaluations", { at: wishText(), limit: 1 });
  await choose(best, alternatives);
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
  $("export").href = `/api/v1/runs/${encodeURIComponent(state.run.name)}/candidates/${encodeURIComponent(candidate)}/export`;
  draw();
  remember();
  await Promise.all([recorded(), steps(candidate)]);
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

async function stream(column, place, signal) {
  const body = {
    model: column.model, stream: true, stream_options: { include_usage: true }, max_tokens: Number($("tokens").value),
    messages: [{ role: "user", content: $("prompt").value }], ...(column.mixture ? { mixture: column.mixture } : {}),
  };
  const answer = await fetched("/v1/chat/completions", {
    method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify(body), signal,
  });
  const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
  for (let held = ""; ;) {
    const { value, done } = await reader.read();
    if (done) return;
    const events = (held + value).split("\n\n");
    held = events.pop();
    for (const event of events) heard(event.slice("data: ".length), place);
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
  const names = state.rows.map((row) => row.candidate).filter((name) => name !== state.chosen);
  $("other").replaceChildren(element("option", { value: "", textContent: "nobody" }),
    ...names.map((name) => element("option", { value: name, textContent: name })));
  $("other").value = names.includes(kept) ? kept : "";
}

async function completions() {
  const row = state.rows.find((one) => one.candidate === state.chosen);
  const found = await ofRun(`/candidates/${encodeURIComponent(state.chosen)}/completions`, {
    split: row.split, contains: $("contains").value,
  });
  texts(`${found.length} completions of ${state.chosen}`, ["prompt", "completion", ...state.run.values],
    found.map((one) => [one.prompt, one.completion, ...state.run.values.map((value) => one.rewards[value])]));
}

async function differences(other) {
  const found = await ofRun("/diff", { first: state.chosen, second: other, prompts: 20 });
  const values = Object.entries(found.values).map(([value, { difference, p }]) =>
    `${value} ${number(difference.estimate)} (95 %: ${number(difference.low)} to ${number(difference.high)}, p ${number(p)})`);
  texts(`${state.chosen} minus ${other} on ${found.n_prompts} prompts: ${values.join("; ")}. ${found.same} answered alike. ` +
    "Where they differ most:", ["prompt", state.chosen, other], found.prompts.map((one) => [one.prompt, one.first, one.second]));
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
  $("compare").onclick = () => put({ title: state.chosen, model: `${state.run.name}:${state.chosen}` });
  $("mix").onclick = () => put({ title: `mixture ${mixture(own)}`, model: state.run.name, mixture: { ...own } });
  $("ask").onsubmit = (event) => { event.preventDefault(); safely(answer)(); };
  $("stop").onclick = () => { state.asking?.abort(); $("stop").disabled = true; };
  $("other").onchange = safely(recorded);
  $("contains").oninput = soon(safely(recorded));
  $("export").onclick = (event) => { if (token) { event.preventDefault(); safely(save)($("export").href); } };
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);
  safely(begin)();
});

async function save(place) {
  const blob = await (await fetched(place)).blob();
  const link = element("a", { href: URL.createObjectURL(blob), download: `${state.run.name}-${state.chosen}.zip` });
  link.click();
  URL.revokeObjectURL(link.href);
}
