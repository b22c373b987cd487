"""Questions to the runs over HTTP: the same functions as the command line, under the same names."""

import dataclasses
import shutil
import tempfile
from pathlib import Path
from typing import Annotated, Any

from fastapi import APIRouter, Depends
from fastapi import Query as Parameter
from starlette.background import BackgroundTask
from starlette.responses import FileResponse

from mva_ray.export import Form
from mva_ray.export.candidate import find
from mva_ray.export.write import write
from mva_ray.run_dir.layout import RunDirectory
from mva_ray.run_dir.run_state import RunState
from mva_ray.serve.errors import Refused
from mva_ray.serve.shared import Everything, Known, KnownRun
from mva_ray.service.diff import Diff, diff
from mva_ray.service.history import History, history
from mva_ray.service.query import Query, Split, ask
from mva_ray.service.render import notes, records
from mva_ray.service.select import select
from mva_ray.service.status import status
from mva_ray.service.steps import MOST_STEPS, STEPS, Steps, names_in, steps
from mva_ray.service.tradeoffs import Tradeoffs, tradeoffs
from mva_ray.service.wish_text import WishText
from mva_ray.table.pareto_table import ParetoTable

MOST_ROWS, MOST_PROMPTS = 100_000, 1000
Text = Annotated[str | None, Parameter(max_length=10_000)]
From = Annotated[str | None, Parameter(max_length=10_000, alias="from")]
Name = Annotated[str, Parameter(max_length=1000)]

api = APIRouter(prefix="/api/v1")


def _wish(
    prefer: Text = None,
    at: Text = None,
    start: From = None,
    improve: Text = None,
    keep: Text = None,
    allow: Text = None,
) -> WishText:
    return WishText(prefer=prefer, at=at, start=start, improve=improve, keep=keep, allow=allow)


Wish = Annotated[WishText, Depends(_wish)]


@api.get("/runs")
def runs(shared: Everything) -> list[dict[str, Any]]:
    """The runs that are served, and those that were started here, with their values and coefficients."""
    places = {name: shared.place(name) for name in shared.names}
    return [described(KnownRun(name, place), name in shared.catalogue.runs) for name, place in places.items() if place]


@api.get("/runs/{run}")
def one_run(found: Known, shared: Everything) -> dict[str, Any]:
    """One run, and how far it is."""
    told = described(found, found.name in shared.catalogue.runs)
    return told | {"status": dataclasses.asdict(status(found.place))}


@api.get("/runs/{run}/evaluations")
def evaluations(
    found: Known,
    wish: Wish,
    split: Split | None = None,
    everything: Annotated[bool, Parameter(alias="all")] = False,
    where: Text = None,
    sort: Text = None,
    limit: Annotated[int | None, Parameter(ge=0, le=MOST_ROWS)] = None,
    presets: Annotated[float | None, Parameter(ge=0, le=100)] = None,
) -> dict[str, Any]:
    """The rows of `mva-ray pareto` with the same options; the front without `all`."""
    query = Query(split, everything, where, sort, limit=limit, wish=wish if wish.options else None, presets=presets)
    answer = ask(found.place, query)
    return {
        "rows": records(answer),
        "split": answer.split,
        "n_prompts": answer.n_prompts,
        "left_out": answer.left_out,
        "best": answer.best,
        "alternatives": dict(answer.alternatives),
        "notes": notes(answer),
    }


@api.get("/runs/{run}/select")
def selected(found: Known, wish: Wish, candidate: Text = None, preset: Text = None) -> dict[str, str]:
    """The candidate that is best for one wish, as `mva-ray export` chooses it."""
    return {"candidate": select(found.place, dataclasses.replace(wish, candidate=candidate, preset=preset))}


@api.get("/runs/{run}/tradeoffs")
def of_neighbours(found: Known, split: Split | None = None, start: From = None) -> Tradeoffs:
    """What a step along the front costs, how sure its members are of their places, and who is alike."""
    return tradeoffs(found.place, split, start)


@api.get("/runs/{run}/steps")
def on_the_way(
    found: Known,
    towards: Text = None,
    of: Annotated[int, Parameter(ge=1, le=MOST_STEPS)] = STEPS,
    split: Split | None = None,
) -> Steps:
    """Where steps from the worst corner towards these candidates lead, and where the next one may go (E-NAUTILUS)."""
    return steps(found.place, names_in(towards), of, split)


@api.get("/runs/{run}/diff")
def of_two(
    found: Known,
    first: Name,
    second: Name,
    split: Split | None = None,
    prompts: Annotated[int, Parameter(ge=0, le=MOST_PROMPTS)] = 5,
) -> Diff:
    """A paired test a value, and the prompts where two candidates differ most."""
    return diff(found.place, first, second, split, prompts)


@api.get("/runs/{run}/history")
def over_time(found: Known, split: Split = "search") -> History:
    """The front and its hypervolume after each evaluation, and after so many answers."""
    return history(found.place, split)


@api.get("/runs/{run}/candidates/{candidate}/completions")
def completions(found: Known, candidate: str, split: Split = "held_out", contains: Text = None) -> list[dict[str, Any]]:
    """What a candidate said to the prompts of a split, with the rewards; those that contain a text alone."""
    said = ParetoTable(found.place).generations(candidate, split)
    if not said:
        raise Refused(f"'{candidate}' has no completions on {split}", "candidate", 404)
    wanted = (contains or "").casefold()
    return [
        {"prompt": one.generation.prompt, "completion": one.generation.completion, "rewards": one.rewards}
        for one in said
        if wanted in one.generation.prompt.casefold() or wanted in one.generation.completion.casefold()
    ]


@api.get("/runs/{run}/candidates/{candidate}/export")
def export(
    found: Known,
    candidate: str,
    form: Annotated[Form, Parameter(alias="as")] = "adapter",
    rank: Annotated[int | None, Parameter(ge=1, le=4096)] = None,
) -> FileResponse:
    """A zip archive of what `mva-ray export` writes."""
    chosen = find(found.place, candidate)
    name = f"{found.name}-{chosen.evaluation.candidate}"
    scratch = Path(tempfile.mkdtemp(prefix="mva-export-"))
    try:
        write(chosen, form, scratch / name, rank)
        archive = shutil.make_archive(str(scratch / "archive"), "zip", scratch, name)
    except BaseException:
        shutil.rmtree(scratch, ignore_errors=True)
        raise
    gone = BackgroundTask(shutil.rmtree, scratch, ignore_errors=True)
    return FileResponse(archive, media_type="application/zip", filename=f"{name}.zip", background=gone)


def described(run: KnownRun, served: bool) -> dict[str, Any]:
    """A run in words; one that has only begun may have no values yet, and no coefficients before its search.

    Args:
        served: whether its models answer here.
    """
    directory = RunDirectory(run.place)
    settings = (directory.plan.read_object() or {}).get("settings", {})
    names = RunState.load(run.place).coefficients if directory.state.read() is not None else {}
    return {
        "name": run.name,
        "place": run.place,
        "base_model": settings.get("base_model"),
        "values": [value["name"] for value in settings.get("values", ())],
        "coefficients": {value: list(of_value) for value, of_value in names.items()},
        "served": served,
    }
