"use strict";

// Runs that are at work: how far the one that is looked at is, what was started here, and how to start one.

const AGAIN_MS = 5000;
let following = null;

// Hears how far the run is until it ends or another is looked at; rows are read when there are new ones.
async function follow() {
  following?.abort();
  const { signal } = following = new AbortController();
  const path = `/api/v1/runs/${encodeURIComponent(state.run.name)}`;
  if (recording) { progress(recording[`${path}?`]); return; }
  let known = null;
  const heed = safely(async (text) => {
    const event = JSON.parse(text);
    if (signal.aborted) return;
    progress(event);
    const now = JSON.stringify([event.status?.answers, event.status?.front, event.status?.held_out, event.status?.failures]);
    const isNew = known === null ? event.state === "running" || !state.rows.length : now !== known;
    if (isNew && event.status?.answers) await arrived();
    known = now;
    if (event.state !== "elsewhere") await explorations();
  });
  while (!signal.aborted) {
    try {
      await events(await fetched(`${path}/events`, { signal }), heed);
      return;
    } catch (problem) {
      if (problem.name === "AbortError" || signal.aborted) return;
      $("status").textContent = `the server does not answer: ${problem.message}`;
      await new Promise((resolve) => setTimeout(resolve, AGAIN_MS));
    }
  }
}

async function arrived() {
  if (!isSearched()) await listRuns();
  await read();
  if (!$("wishes").contains(document.activeElement)) sliders();
  if (!$("mixture").contains(document.activeElement)) mixers();
  if (state.chosen && state.rows.some((row) => row.candidate === state.chosen)) { await walk(); draw(); } else await nearest();
  await grow();
}

// With a budget in answers, how many candidates there will be is not known.
function searched({ searched: done, budget, searched_answers: answers, answer_budget: most }) {
  return most ? `${done} candidates, ${answers.toLocaleString()} of ${most.toLocaleString()} answers` : `${done} of ${budget} candidates`;
}

function progress({ state: doing, status }) {
  const words = { stopped: "stopped: ", running: "", finished: "", elsewhere: "" }[doing] ?? "";
  if (!status) { $("status").textContent = `${words || "starting: "}no plan yet`; return; }
  const failed = status.failures.reduce((sum, failure) => sum + failure.count, 0);
  const parts = [`${status.stage}: ${searched(status)}`, `${status.answers.toLocaleString()} answers`];
  if (status.front) parts.push(`${status.front} on the front of the search`);
  if (status.hypervolume !== null) parts.push(`hypervolume ${status.hypervolume.toFixed(3)}`);
  if (failed) parts.push(`${failed} failed`);
  $("status").textContent = words + parts.join(", ");
  $("failures").replaceChildren(...status.failures.map((failure) =>
    element("li", { textContent: `${failure.count} by ${failure.kind}; the newest: ${failure.error}` })));
}

// ---- explorations that were started here

async function explorations() {
  const { allowed, explorations: found } = await asked("/api/v1/explorations");
  $("explore").hidden = !allowed;
  $("explorations").replaceChildren(...found.map((one) => {
    const press = (text, work) => element("button", { type: "button", textContent: text, ariaLabel: `${text} ${one.name}`, onclick: safely(work) });
    const far = one.status ? `${one.status.stage}, ${searched(one.status)}` : "no plan yet";
    const buttons = [press("Look at", async () => { await listRuns(); await turnTo(one.name); }), press("What it printed", () => printed(one.name))];
    if (one.state === "running") buttons.push(press("Cancel", () => cancel(one.name)));
    return element("li", { textContent: `${one.name}: ${one.state}, ${far}` }, ...buttons);
  }));
}

const ofExploration = (name) => `/api/v1/explorations/${encodeURIComponent(name)}`;

async function printed(name) {
  tell((await asked(ofExploration(name))).log || "nothing yet");
}

async function cancel(name) {
  await fetched(ofExploration(name), { method: "DELETE" });
  tell(`${name} was asked to stop: what it computed is kept, and starting it again goes on from there`);
  await explorations();
}

function tell(text) {
  $("plan").textContent = text;
  $("plan").hidden = false;
}

async function begun(dry) {
  tell("checking the config ...");
  for (const id of ["dry", "start"]) $(id).disabled = true;
  try {
    const answer = await fetched("/api/v1/explorations", {
      method: "POST", headers: { "content-type": "application/json" },
      body: JSON.stringify({ config: $("config").value, dry_run: dry }),
    });
    const { name, plan } = await answer.json();
    tell(dry ? plan : `${name} has started\n\n${plan}`);
    if (!dry) { await listRuns(); await turnTo(name); await explorations(); }
  } catch (problem) {
    tell(problem.message);
  } finally {
    for (const id of ["dry", "start"]) $(id).disabled = false;
  }
}
