"""Calls that start explorations, watch them and end them."""

import asyncio
import dataclasses
import time
from collections.abc import AsyncGenerator
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Request
from fastapi.encoders import jsonable_encoder
from pydantic import BaseModel, ConfigDict, Field
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response

from mva_ray.errors import ConfigError
from mva_ray.run_dir.place import name_of
from mva_ray.serve.errors import Refused
from mva_ray.serve.explorations import Explorations
from mva_ray.serve.responses import Events, event
from mva_ray.serve.shared import Everything, Known, Shared
from mva_ray.service.status import Status, status

LOOK_S, SILENT_S = 1.0, 15.0
"""How often a run is looked at, and how long a stream may say nothing."""
State = Literal["running", "finished", "stopped", "elsewhere"]
"""`elsewhere`: not done, and whoever drives it, if anybody, was not started here."""
OFF = "this server starts no explorations: start it with --explore FOLDER"

watch = APIRouter(prefix="/api/v1")


class NewExploration(BaseModel):
    """A config, as YAML text or as the JSON of the same; its name is that of the run."""

    model_config = ConfigDict(extra="forbid")
    config: Annotated[str, Field(max_length=2**20)] | dict[str, Any]
    dry_run: bool = False


@watch.get("/explorations")
def started(shared: Everything) -> dict[str, Any]:
    """Whether this server starts explorations, and those that it, or one before it, has started."""
    found = shared.explorations
    names = [name_of(place) for place in found.places()] if found else []
    return {"allowed": found is not None, "explorations": [_seen(name, shared) for name in names]}


@watch.post("/explorations", status_code=201)
def start(asked: NewExploration, shared: Everything, response: Response) -> dict[str, Any]:
    """Check a config, and start its exploration unless it is a dry run; what is wrong with it is told all at once."""
    found = _allowed(shared)
    if asked.dry_run:
        response.status_code = 200
        name, plan = found.check(asked.config)
    else:
        name, plan = found.start(asked.config, shared.catalogue.runs)
    return {"name": name, "started": not asked.dry_run, "plan": plan}


@watch.get("/explorations/{name}")
def one(name: str, shared: Everything) -> dict[str, Any]:
    """An exploration, and the end of what it printed."""
    found = _allowed(shared)
    return _seen(name, shared) | {"log": found.launcher.log(_place(name, found))}


@watch.delete("/explorations/{name}", status_code=202)
def cancel(name: str, shared: Everything) -> dict[str, Any]:
    """Ask an exploration to stop: what it computed is kept, and starting it again goes on from there."""
    found = _allowed(shared)
    found.launcher.cancel(_place(name, found))
    return _seen(name, shared)


@watch.get("/runs/{run}/events")
async def events(found: Known, shared: Everything, request: Request) -> Response:
    """How far a run is, as server-sent events: one at once, one whenever that changes, until it ends."""
    return Events(_events(found.name, shared, request))


async def _events(name: str, shared: Shared, request: Request) -> AsyncGenerator[str, None]:
    before, said = None, time.monotonic()
    while not request.app.state.ending():
        now = jsonable_encoder(await run_in_threadpool(_seen, name, shared))
        if now != before or time.monotonic() - said > SILENT_S:
            yield event(now) if now != before else ": nothing new\n\n"
            before, said = now, time.monotonic()
        if now["state"] in ("finished", "stopped"):
            return
        await asyncio.sleep(LOOK_S)


def _seen(name: str, shared: Shared) -> dict[str, Any]:
    """A run by its name: its state, and its status where it has come so far."""
    started = shared.explorations.places() if shared.explorations else {}
    served = shared.catalogue.runs.get(name)
    place = served.place if served else next((place for place in started if name_of(place) == name), None)
    if place is None:
        raise Refused(f"there is no run '{name}'", "name", 404)
    try:
        found = status(place)
    except ConfigError:  # its process has not got so far as to plan
        found = None
    return {
        "name": name,
        "place": place,
        "state": _state(started.get(place), found),
        "status": dataclasses.asdict(found) if found else None,
    }


def _state(at_work: bool | None, found: Status | None) -> State:
    """
    Args:
        at_work: whether the process or job of a run is; None where it was not started here.
    """
    if at_work:
        return "running"
    if found and found.stage == "finished":
        return "finished"
    return "elsewhere" if at_work is None else "stopped"


def _allowed(shared: Shared) -> Explorations:
    if shared.explorations is None:
        raise Refused(OFF, None, 403)
    return shared.explorations


def _place(name: str, found: Explorations) -> str:
    place = found.place(name)
    if place is None:
        raise Refused(f"no exploration '{name}' was started here", "name", 404)
    return place
