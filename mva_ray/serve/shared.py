"""What the calls of a server share."""

from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Request

from mva_ray.evaluation.shared_engine import EngineThread
from mva_ray.serve.catalogue import Catalogue, ServedRun
from mva_ray.serve.errors import Refused
from mva_ray.serve.meters import Meters
from mva_ray.serve.model import ServedModel
from mva_ray.serve.responses import Responses


@dataclass(frozen=True)
class Shared:
    catalogue: Catalogue
    engine: EngineThread[ServedModel]
    responses: Responses
    meters: Meters


def _shared(request: Request) -> Shared:
    shared: Shared = request.app.state.shared
    return shared


Everything = Annotated[Shared, Depends(_shared)]


def _known(run: str, shared: Everything) -> ServedRun:
    runs = shared.catalogue.runs
    if run not in runs:
        raise Refused(f"there is no run '{run}': there are {', '.join(runs)}", "run", 404)
    return runs[run]


Known = Annotated[ServedRun, Depends(_known)]
"""The run that a call's path names."""
