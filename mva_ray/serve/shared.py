"""What the calls of a server share."""

from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Request

from mva_ray.evaluation.shared_engine import EngineThread
from mva_ray.run_dir.place import name_of
from mva_ray.serve.catalogue import Catalogue
from mva_ray.serve.errors import Refused
from mva_ray.serve.explorations import Explorations
from mva_ray.serve.meters import Meters
from mva_ray.serve.model import ServedModel
from mva_ray.serve.responses import Responses


@dataclass(frozen=True)
class Shared:
    catalogue: Catalogue
    engine: EngineThread[ServedModel]
    responses: Responses
    meters: Meters
    explorations: Explorations | None = None
    """None where this server starts none."""

    def place(self, name: str) -> str | None:
        """Of a run that is served, or that was started here; None where there is none of this name."""
        if served := self.catalogue.runs.get(name):
            return served.place
        return self.explorations.place(name) if self.explorations else None

    @property
    def names(self) -> list[str]:
        """Of all these runs, those that are served first."""
        started = self.explorations.places() if self.explorations else {}
        return list(dict.fromkeys([*self.catalogue.runs, *map(name_of, started)]))


@dataclass(frozen=True)
class KnownRun:
    """A run that may be asked about, whether or not its adapters are loaded."""

    name: str
    place: str


def _shared(request: Request) -> Shared:
    shared: Shared = request.app.state.shared
    return shared


Everything = Annotated[Shared, Depends(_shared)]


def _known(run: str, shared: Everything) -> KnownRun:
    place = shared.place(run)
    if place is None:
        raise Refused(f"there is no run '{run}': there are {', '.join(shared.names)}", "run", 404)
    return KnownRun(run, place)


Known = Annotated[KnownRun, Depends(_known)]
"""The run that a call's path names."""
