"""The page as one file: the run's answers recorded in it, to be read, mailed and kept without a server."""

import json
import secrets
from collections.abc import Iterator
from itertools import combinations
from typing import Any
from urllib.parse import quote, urlencode

from fastapi import APIRouter
from fastapi.encoders import jsonable_encoder
from starlette.responses import HTMLResponse

from mva_ray.errors import ConfigError
from mva_ray.run_dir.layout import RunDirectory
from mva_ray.run_dir.run_state import RunState
from mva_ray.serve import api
from mva_ray.serve.page import SCRIPTS, plotly_source, source
from mva_ray.serve.shared import Known, KnownRun
from mva_ray.service.diff import diff
from mva_ray.service.history import history
from mva_ray.service.status import status
from mva_ray.service.steps import steps
from mva_ray.service.tradeoffs import Tradeoffs, tradeoffs
from mva_ray.service.wish_text import WishText

MOST_TEXTS, MOST_PAIRS, PROMPTS = 100, 300, 10
"""Candidates whose completions are in the file, pairs whose differences are, and prompts of each that are shown."""
Answers = dict[str, Any]

saved = APIRouter(prefix="/api/v1")


@saved.get("/runs/{run}/page", response_class=HTMLResponse)
def page_of(found: Known) -> HTMLResponse:
    """The page of this run as one file that needs no server: everything but answering."""
    name = {"content-disposition": f'attachment; filename="{found.name}.html"'}
    return HTMLResponse(bundle(found), headers=name)


def bundle_at(place: str) -> str:
    """The page of a run, see `bundle`.

    Raises:
        ConfigError: no run there, or nothing in it yet.
    """
    return bundle(KnownRun(RunState.load(place).name, RunDirectory(place).place))


def bundle(run: KnownRun) -> str:
    """
    Returns:
        HTML with style, scripts and the recorded answers in it; it asks for nothing.

    Raises:
        ConfigError: there is no candidate on the front.
    """
    nonce = secrets.token_urlsafe(16)
    text = json.dumps(jsonable_encoder(recorded(run)), allow_nan=False, separators=(",", ":")).replace("<", "\\u003c")
    html = source("page.html")
    head, body = html.split("</head>")
    kept = [line for line in head.splitlines() if "/assets/" not in line]
    policy = f"default-src 'none'; script-src 'nonce-{nonce}'; style-src 'unsafe-inline'; img-src data: blob:"
    kept.append(f'<meta http-equiv="Content-Security-Policy" content="{policy}">')
    kept.append(f"<style>\n{source('page.css')}</style>\n</head>")
    scripts = [plotly_source(), *map(source, SCRIPTS)]
    parts = [f'<script type="application/json" id="recording">{text}</script>']
    parts += [f'<script nonce="{nonce}">\n{script}\n</script>' for script in scripts]
    return "\n".join(kept) + body.replace("</body>", "\n".join(parts) + "\n</body>")


def recorded(run: KnownRun) -> Answers:
    """What the page asks of a run -> the answer: its path with its parameters, in the order of their names."""
    front = api.evaluations(run, WishText())
    if not front["rows"]:
        raise ConfigError(run.place, ["there is no candidate on the front: a page of it would show nothing"])
    names, split = [row["candidate"] for row in front["rows"]], front["split"]
    rows = api.evaluations(run, WishText(), everything=True)
    costs = tradeoffs(run.place)
    pairs = sorted({(min(pair), max(pair)) for pair in _pairs(names, costs)})
    described = api.described(run, served=False)
    described |= {
        "differences": {
            name: [other for pair in pairs for other in pair if name in pair and other != name] for name in names
        }
    }
    known = dict.fromkeys([*names, *(row["candidate"] for row in rows["rows"] if row["status"] != "failed")])
    found: Answers = {"/api/v1/runs?": [described]}
    base = f"/api/v1/runs/{quote(run.name, safe='')}"
    found[f"{base}?"] = described | {"status": status(run.place)}
    found[_asked(f"{base}/evaluations", all="true")] = rows
    found[f"{base}/history?"] = history(run.place)
    for name in names:
        steps_of = [step for step in costs.steps if name in (step.start, step.to)]
        found[_asked(f"{base}/tradeoffs", **{"from": name})] = {"steps": steps_of}
    for name in list(known)[:MOST_TEXTS]:
        path = f"{base}/candidates/{quote(name, safe='')}/completions"
        found[_asked(path, split=split)] = api.completions(run, name, split)
    for one, other in pairs:
        differs = diff(run.place, one, other, None, PROMPTS)
        found[_asked(f"{base}/diff", first=one, second=other, prompts=str(PROMPTS))] = differs
    for towards, step in _ways(run.place):
        found[_asked(f"{base}/steps", towards=",".join(towards))] = step
    return found


def _pairs(names: list[str], costs: Tradeoffs) -> Iterator[tuple[str, str]]:
    """All of the front, or neighbours where there are too many."""
    if len(names) * (len(names) - 1) <= 2 * MOST_PAIRS:
        yield from combinations(names, 2)
    else:
        yield from ((step.start, step.to) for step in costs.steps)


def _ways(place: str) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Every way along what is offered."""
    begun: list[tuple[str, ...]] = [()]
    while begun:
        taken = begun.pop()
        found = steps(place, taken)
        yield taken, found
        begun += [(*taken, point.towards) for point in found.offered if point.towards]


def _asked(path: str, **parameters: str) -> str:
    return f"{path}?{urlencode(sorted(parameters.items()))}"
