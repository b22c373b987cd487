"""Which candidate of a run, and everything that is known of it."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mva_ray.adapters.fetch import shared_copy
from mva_ray.adapters.hashes import delta_hash
from mva_ray.adapters.parts import split_by_block
from mva_ray.errors import ConfigError
from mva_ray.records import AdapterRef, Coefficients, Evaluation, in_order
from mva_ray.run_dir.layout import RunDirectory
from mva_ray.run_dir.place import is_url
from mva_ray.run_dir.run_state import RunState
from mva_ray.table.snapshot import snapshot


@dataclass(frozen=True)
class Candidate:
    """A candidate with the adapters it consists of.

    Args:
        evaluation: its newest, on the held-out prompts where there is one, without texts.
        adapters: one for each coefficient, in their order; their content is what was evaluated.
        base_model: a hub id, a directory or a `.gguf` file, see `run_model`.
        settings: the config of its run.
    """

    run: str
    evaluation: Evaluation
    adapters: tuple[AdapterRef, ...]
    base_model: str
    settings: Mapping[str, Any]

    @property
    def coefficients(self) -> Coefficients:
        """One number for each of `adapters`."""
        return in_order(self.evaluation.coefficients, [adapter.value for adapter in self.adapters])


def find(run: Path | str, name: str) -> Candidate:
    """A candidate of the current rows of a run that did not fail.

    Args:
        name: of the candidate, or its beginning where no other begins alike.

    Raises:
        ConfigError: no run there, no such candidate, or an adapter that is not what was evaluated.
    """
    directory, rows = RunDirectory(run), snapshot(run)
    state, evaluation = rows.state, rows.evaluation(name)
    plan = directory.plan.read_object()
    if plan is None:
        raise ConfigError(str(run), ["plan.json is missing: the run's config is not known"])
    adapters = run_adapters(directory, state, plan)
    problems = [
        f"the adapter of '{adapter.value}' is not the one that {evaluation.candidate} was evaluated with"
        for adapter in adapters
        if adapter.sha256 != evaluation.adapters.get(adapter.value)
    ]
    if problems:
        raise ConfigError(directory.place, problems)
    base_model = run_model(directory, plan, evaluation.base_model)
    return Candidate(directory.place, evaluation, adapters, base_model, plan["settings"])


def run_model(directory: RunDirectory, plan: Mapping[str, Any], evaluated: str) -> str:
    """What the base model of a run is loaded from: what its config names, or the copy that a run at a URL has of it.

    Where the driver found it (on a cluster, in the folder of a job) is known to that machine alone.

    Args:
        evaluated: `Evaluation.base_model` of its rows.
    """
    named = str(plan["settings"]["base_model"])
    if not is_url(directory.place) or not Path(named).is_absolute():
        return named
    copy = shared_copy(evaluated.rpartition(" ")[2], directory.store)
    return str(copy.fetch()) if copy else named


def run_adapters(directory: RunDirectory, state: RunState, plan: Mapping[str, Any]) -> tuple[AdapterRef, ...]:
    """The adapters of a run's plan, one for each coefficient, as they are now.

    Raises:
        ConfigError: one is missing.
    """
    whole = [_adapter(directory, value, plan["stages"][f"adapter '{value}'"]) for value in state.values]
    return tuple(split_by_block(whole, state.blocks))


def _adapter(directory: RunDirectory, value: str, key: str) -> AdapterRef:
    found = directory.adapter(value, key)
    if not found.exists():
        raise ConfigError(found.place, [f"the adapter of '{value}' is missing: mva-ray explore trains it again"])
    return AdapterRef(value, found.place, delta_hash(found.fetch()))
