"use strict";

// The front as plots and as a table; what is selected in one is selected in all, and is what is saved.

const CHOSEN = "#d1495b", ON_FRONT = "#2563c9", OTHER = "#8a8f98", HERE = "#e0a100", FAINT = 0.15;

const shown = () => (state.everything ? state.rows : state.front);
const within = () => shown().filter((row) => !state.brush || state.brush.has(row.candidate));
const inReach = (row) => !state.walk || state.walk.here.reachable.includes(row.candidate);

function draw() {
  if (!state.run) return;
  const { values } = state.run;
  const { data, layout } = figure(values);
  Plotly.react("plot", data, layout, { responsive: true, displaylogo: false });
  const plot = $("plot");
  for (const event of ["plotly_click", "plotly_selected", "plotly_deselect"]) plot.removeAllListeners?.(event);
  plot.on?.("plotly_click", safely(async (event) => { if (event.points[0].customdata) await choose(event.points[0].customdata); }));
  plot.on?.("plotly_selected", (event) => { if (event?.range || event?.lassoPoints) selected(event, values); });
  plot.on?.("plotly_deselect", () => brushed(null, {}));
  $("unbrush").hidden = !state.brush;
  $("hint").textContent = state.brush ? `${within().length} of ${shown().length} are selected.`
    : "Drag over the plot to select, double-click to show all again; a click chooses.";
  table(values);
}

function figure(values) {
  const style = getComputedStyle(document.body);
  const layout = {
    paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)", font: { color: style.color }, dragmode: "select",
    margin: { l: 55, r: 15, t: 15, b: 45 }, showlegend: false, hovermode: "closest",
  };
  return { data: values.length <= 3 ? scatters(values, layout) : parallel(values, layout), layout };
}

// ---- selecting

function brushed(brush, ranges) {
  Object.assign(state, { brush, ranges });
  draw();
}

function selected(event, values) {
  if (values.length <= 3) {
    const names = event.points.map((point) => point.customdata).filter(Boolean);
    brushed(names.length ? new Set(names) : null, {});
    return;
  }
  if (!event.range) return;
  const [left, right] = [...event.range.x].sort((one, other) => one - other);
  const across = [...event.range.y].sort((one, other) => one - other);
  const ranges = { ...state.ranges };
  values.forEach((value, at) => { if (left <= at && at <= right) ranges[value] = across; });
  const scale = scales(values);
  const isIn = (row) => Object.entries(ranges).every(([value, [low, high]]) => low <= scale[value](row) && scale[value](row) <= high);
  brushed(Object.keys(ranges).length ? new Set(shown().filter(isIn).map((row) => row.candidate)) : null, ranges);
}

// ---- two or three values: a scatter for each two

function scatters(values, layout) {
  const pairs = values.length === 2 ? [[0, 1]] : values.length === 3 ? [[0, 1], [0, 2], [1, 2]] : [];
  if (pairs.length > 1) layout.grid = { rows: 1, columns: pairs.length, pattern: "independent" };
  const rows = shown();
  const kept = state.brush ? rows.flatMap((row, at) => (state.brush.has(row.candidate) ? [at] : [])) : null;
  return pairs.flatMap(([x, y], place) => {
    const axis = place ? String(place + 1) : "";
    layout[`xaxis${axis}`] = { title: { text: values[x] }, zeroline: false };
    layout[`yaxis${axis}`] = { title: { text: values[y] }, zeroline: false };
    const errors = (value) => ({ type: "data", array: rows.map((row) => row.rewards[value].se), thickness: 0.7, width: 0, color: OTHER });
    const models = {
      type: "scatter", mode: "markers", xaxis: `x${axis}`, yaxis: `y${axis}`,
      x: rows.map((row) => mean(row, values[x])), y: rows.map((row) => mean(row, values[y])),
      error_x: errors(values[x]), error_y: errors(values[y]),
      customdata: rows.map((row) => row.candidate),
      text: rows.map((row) => `${row.candidate}<br>${mixture(row.coefficients)}`), hoverinfo: "text+x+y",
      selectedpoints: kept, selected: { marker: { opacity: 1 } }, unselected: { marker: { opacity: FAINT } },
      marker: {
        size: rows.map((row) => (row.candidate === state.chosen ? 17 : 9)),
        symbol: rows.map((row) => (row.knee ? "diamond" : row.on_front ? "circle" : row.feasible ? "circle-open" : "x")),
        color: rows.map((row) => (row.candidate === state.chosen ? CHOSEN : row.on_front ? ON_FRONT : OTHER)),
        opacity: rows.map((row) => (inReach(row) ? 1 : FAINT)),
      },
    };
    return state.walk ? [models, way(values[x], values[y], axis)] : [models];
  });
}

function way(x, y, axis) {
  const points = [state.walk.here, ...state.walk.offered];
  return {
    type: "scatter", mode: "markers", xaxis: `x${axis}`, yaxis: `y${axis}`, hoverinfo: "text",
    x: points.map((point) => point.means[x]), y: points.map((point) => point.means[y]),
    text: points.map((point, at) => (at ? `a step towards ${point.towards}` : "you are here")),
    marker: { size: points.map((_, at) => (at ? 10 : 15)), symbol: points.map((_, at) => (at ? "triangle-up" : "star")), color: HERE },
  };
}

// ---- more values: parallel coordinates, each value scaled to its range

function scales(values) {
  return Object.fromEntries(values.map((value) => {
    const means = shown().map((row) => mean(row, value));
    const low = Math.min(...means), span = Math.max(...means) - low;
    return [value, (row) => (span ? (mean(row, value) - low) / span : 0.5)];
  }));
}

function parallel(values, layout) {
  const scale = scales(values), rows = shown(), chosen = (row) => row.candidate === state.chosen;
  const kept = (row) => (!state.brush || state.brush.has(row.candidate)) && inReach(row);
  const label = (value) => {
    const means = rows.map((row) => mean(row, value));
    return rows.length ? `${value}<br>${number(Math.min(...means))} to ${number(Math.max(...means))}` : value;
  };
  layout.xaxis = { tickvals: values.map((_, at) => at), ticktext: values.map(label), range: [-0.3, values.length - 0.7], zeroline: false, showgrid: true };
  layout.yaxis = { visible: false, range: [-0.05, 1.05] };
  layout.margin = { l: 15, r: 15, t: 15, b: 60 };
  layout.shapes = Object.entries(state.ranges).map(([value, [low, high]]) => ({
    type: "rect", x0: values.indexOf(value) - 0.05, x1: values.indexOf(value) + 0.05, y0: low, y1: high, line: { width: 1, color: HERE }, fillcolor: HERE, opacity: 0.35,
  }));
  const lines = (some, color, width, opacity) => ({
    type: "scatter", mode: "lines+markers", opacity, line: { color, width }, marker: { color, size: width * 3 }, hoverinfo: "text",
    x: some.flatMap(() => [...values.keys(), null]), y: some.flatMap((row) => [...values.map((value) => scale[value](row)), null]),
    customdata: some.flatMap((row) => [...values.map(() => row.candidate), null]),
    text: some.flatMap((row) => [...values.map((value) => `${row.candidate}<br>${value} ${number(mean(row, value))}`), null]),
  });
  return [
    lines(rows.filter((row) => !kept(row) && !chosen(row)), OTHER, 1, 2 * FAINT),
    lines(rows.filter((row) => kept(row) && !chosen(row) && !row.on_front), OTHER, 1.5, 0.8),
    lines(rows.filter((row) => kept(row) && !chosen(row) && row.on_front), ON_FRONT, 1.5, 0.8),
    lines(rows.filter(chosen), CHOSEN, 3, 1),
  ];
}

// ---- the table, and files

function table(values) {
  const head = ["candidate", ...values, "coefficients"];
  $("rows").tHead.replaceChildren(element("tr", {}, ...head.map((text) => element("th", { textContent: text, scope: "col" }))));
  $("rows").tBodies[0].replaceChildren(...within().map((row) => {
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
  const values = state.run.values, names = Object.values(state.run.coefficients).flat();
  const cells = (row) => [row.candidate, row.on_front, ...values.flatMap((value) => [mean(row, value), row.rewards[value]?.se]),
    ...names.map((name) => row.coefficients[name])];
  const head = ["candidate", "on_front", ...values.flatMap((value) => [value, `${value}_se`]), ...names.map((name) => `w_${name}`)];
  const quoted = (cell) => (/[",\n]/.test(String(cell)) ? `"${String(cell).replaceAll('"', '""')}"` : String(cell ?? ""));
  const text = [head, ...within().map(cells)].map((line) => line.map(quoted).join(",")).join("\n");
  download(new Blob([`${text}\n`], { type: "text/csv" }), `${state.run.name}.csv`);
}

async function png() {
  const { data, layout } = figure(state.run.values);
  const dark = matchMedia("(prefers-color-scheme: dark)").matches;
  const { clientWidth: width, clientHeight: height } = $("plot");
  layout.paper_bgcolor = dark ? "#121212" : "#ffffff";
  await Plotly.downloadImage({ data, layout }, { format: "png", width, height, scale: 2, filename: state.run.name });
}

// ---- how it grew

async function grow() {
  if (!$("growth").open || !isSearched()) return;
  const { moments } = await ofRun("/history");
  const style = getComputedStyle(document.body);
  Plotly.react("grown", [{
    type: "scatter", mode: "lines", line: { shape: "hv", color: ON_FRONT },
    x: moments.map((moment) => moment.answers), y: moments.map((moment) => moment.hypervolume),
    text: moments.map((moment) => `${moment.candidate}: ${moment.front} on the front`), hoverinfo: "text+x+y",
  }], {
    paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)", font: { color: style.color }, margin: { l: 55, r: 15, t: 15, b: 45 },
    xaxis: { title: { text: "answers of the search" } }, yaxis: { title: { text: "hypervolume" }, rangemode: "tozero" },
  }, { responsive: true, displaylogo: false });
}
