"""Which models a server has: the base, each value alone, every candidate of a run, and any mixture one asks for."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd

from mva_ray.errors import ConfigError
from mva_ray.export.candidate import run_adapters, run_model
from mva_ray.records import AdapterRef, CoefficientNames, Coefficients, in_order
from mva_ray.run_dir.layout import RunDirectory
from mva_ray.run_dir.run_state import RunState
from mva_ray.serve.errors import Refused
from mva_ray.serve.requests import WAYS, Asked
from mva_ray.service.select import named_presets, select
from mva_ray.service.wishes import Preference, Preset, ReferencePoint, Wish
from mva_ray.table.frame import front_rows, on_split
from mva_ray.table.snapshot import snapshot

BASE, BALANCED = "base", "balanced"
ALWAYS = (BASE, BALANCED)


@dataclass(frozen=True)
class Mixture:
    """What one request is answered by.

    Args:
        name: as it was asked for.
        run: the run whose values these are.
        weights: a coefficient by its name, for the answer to say.
        coefficients: of every adapter that the server holds.
        candidate: whose coefficients they are, None for a mixture of one's own.
    """

    name: str
    run: "ServedRun"
    weights: Mapping[str, float]
    coefficients: Coefficients
    candidate: str | None = None

    def told(self) -> dict[str, Any]:
        return {"run": self.run.name, "candidate": self.candidate, "mixture": dict(self.weights)}


@dataclass(frozen=True)
class ServedRun:
    """A run whose adapters are loaded.

    Args:
        adapters: one for each coefficient, in their order.
        base_model: what its base model is loaded from.
        settings: its config.
    """

    name: str
    place: str
    names: CoefficientNames
    adapters: tuple[AdapterRef, ...]
    base_model: str
    settings: Mapping[str, Any]

    @property
    def values(self) -> tuple[str, ...]:
        return tuple(self.names)

    @cached_property
    def coefficient_names(self) -> tuple[str, ...]:
        return tuple(adapter.value for adapter in self.adapters)

    def rows(self) -> pd.DataFrame:
        """The newest evaluations on held-out prompts where there are any, else on those of the search."""
        return on_split(snapshot(self.place).frame, None)

    def presets(self) -> dict[str, str]:
        """The candidates that have a name of their own, without those whose name a value has; none without a front."""
        rows = self.rows()
        if not rows["on_front"].any():
            return {}
        named = {BALANCED: self.best(Preference(dict.fromkeys(self.values, 1.0)), "model")}
        named |= named_presets(rows, self.values)
        return {name: candidate for name, candidate in named.items() if name not in self.values}

    def preset(self, name: str) -> str | None:
        """The candidate that has this name of its own; None where it is none of these names.

        Raises:
            Refused: there is no such preset on this front.
        """
        if name == BALANCED:
            return self.best(Preference(dict.fromkeys(self.values, 1.0)), "model")
        wish = Preset(name)
        return None if list(wish.problems(self.values)) else self.best(wish, "model")

    def best(self, wish: Wish, param: str) -> str:
        """The candidate for a wish.

        Raises:
            Refused: there is none, or the wish has problems.
        """
        try:
            return select(self.place, wish)
        except ConfigError as error:
            raise Refused("; ".join(error.problems), param, 404 if param == "model" else 400) from None

    def weights(self, given: Mapping[str, float]) -> dict[str, float]:
        """Every coefficient: of a value in all its blocks, of a block by its own name, 0 where it is left out.

        Raises:
            KeyError: a name that is none of them.
        """
        weights = dict.fromkeys(self.coefficient_names, 0.0)
        for name, number in given.items():
            for coefficient in self.names.get(name, (name,)):
                if coefficient not in weights:
                    raise KeyError(name)
                weights[coefficient] = number
        return weights


class Catalogue:
    """The runs of a server, which share a base model; everything that may be asked for by name.

    Args:
        places: of the runs, paths or URLs.

    Raises:
        ConfigError: every problem of the runs at once.
    """

    def __init__(self, places: Sequence[Path | str]) -> None:
        self.runs: dict[str, ServedRun] = {}
        problems: list[str] = []
        for place in places:
            try:
                run = _open(place)
            except ConfigError as error:
                problems += [f"{error.source}: {problem}" for problem in error.problems]
            else:
                if run.name in self.runs:
                    problems.append(f"{place} and {self.runs[run.name].place} are both called '{run.name}'")
                self.runs[run.name] = run
        models = sorted({run.base_model for run in self.runs.values()})
        if len(models) > 1:
            problems.append(f"the runs of one server share a base model; these have {', '.join(models)}")
        if problems:
            raise ConfigError("mva-ray serve", problems)
        self.base_model = models[0]

    @property
    def adapters(self) -> tuple[AdapterRef, ...]:
        """Of all runs, in the order of `Mixture.coefficients`."""
        return tuple(adapter for run in self.runs.values() for adapter in run.adapters)

    def resolve(self, asked: Asked) -> Mixture:
        """
        Raises:
            Refused: there is no such model, or no such value.
        """
        run_name, colon, name = asked.model.partition(":")
        run = self.runs.get(run_name)
        if run is None:
            raise self._unknown(asked.model)
        if colon and any(getattr(asked, way) is not None for way in WAYS):
            raise Refused(f"what is wanted belongs to model '{run.name}'; '{asked.model}' is one already", "model")
        if asked.mixture is not None or asked.lora is not None:
            return self._mixture(asked.model, run, _own_mixture(run, asked))
        if asked.preference is not None:
            name = run.best(Preference(asked.preference), "preference")
        if asked.reference_point is not None:
            name = run.best(ReferencePoint(asked.reference_point), "reference_point")
        return self._named(asked.model, run, name or BALANCED)

    def models(self) -> list[dict[str, Any]]:
        """As `/v1/models` lists them: the base, then of each run its presets, its values and its front."""
        return [entry for run in self.runs.values() for entry in self._entries(run)]

    def _entries(self, run: ServedRun) -> Iterator[dict[str, Any]]:
        def entry(name: str, weights: Mapping[str, float], **metadata: Any) -> dict[str, Any]:
            return {
                "id": f"{run.name}:{name}",
                "object": "model",
                "created": _created(run),
                "owned_by": "mva_ray",
                "root": self.base_model,
                "parent": None if name == BASE else f"{run.name}:{BASE}",
                "metadata": {"run": run.name, "mixture": dict(weights), **metadata},
            }

        yield entry(BASE, run.weights({}), kind="base")
        rows = {str(row["candidate"]): row for row in run.rows().to_dict("records")}
        for name, candidate in run.presets().items():
            yield entry(name, _weights_of(rows[candidate], run), kind="preset", candidate=candidate)
        for value in run.values:
            yield entry(value, run.weights({value: 1.0}), kind="value")
        for candidate in front_rows(run.rows(), run.values[0])["candidate"]:
            row = rows[candidate]
            means = {value: {"mean": float(row[value]), "se": float(row[f"{value}_se"])} for value in run.values}
            yield entry(candidate, _weights_of(row, run), kind="front", split=row["split"], rewards=means)

    def _named(self, model: str, run: ServedRun, name: str) -> Mixture:
        if name in run.values:
            return self._mixture(model, run, run.weights({name: 1.0}))
        if name == BASE:
            return self._mixture(model, run, run.weights({}))
        try:
            found = snapshot(run.place).evaluation(run.preset(name) or name)
        except ConfigError:
            raise self._unknown(model) from None
        return self._mixture(model, run, found.coefficients, found.candidate)

    def _mixture(self, model: str, run: ServedRun, weights: Mapping[str, float], name: str | None = None) -> Mixture:
        own = in_order(weights, run.coefficient_names)
        before_and_after = (own if one is run else (0.0,) * len(one.adapters) for one in self.runs.values())
        coefficients = tuple(number for part in before_and_after for number in part)
        return Mixture(model, run, weights, coefficients, name)

    def _unknown(self, model: str) -> Refused:
        forms = ", ".join(f"{name}:{what}" for name in self.runs for what in (*ALWAYS, *self.runs[name].values))
        return Refused(
            f"The model `{model}` does not exist. There are {forms}, and RUN:CANDIDATE; /v1/models lists them",
            "model",
            404,
        )


def _own_mixture(run: ServedRun, asked: Asked) -> dict[str, float]:
    """The coefficients that a request says itself."""
    if asked.mixture is not None:
        try:
            return run.weights(asked.mixture)
        except KeyError as error:
            names = ", ".join(run.coefficient_names)
            raise Refused(f"{error} has no coefficient in {run.name}: there are {names}", "mixture") from None
    scales = asked.lora or []
    if unknown := [scale.id for scale in scales if scale.id >= len(run.values)]:
        raise Refused(f"no adapter {unknown[0]}: there are 0 to {len(run.values) - 1}", "lora")
    return run.weights({run.values[scale.id]: scale.scale for scale in scales})


def _weights_of(row: Mapping[Any, Any], run: ServedRun) -> dict[str, float]:
    return {name: float(row[f"w_{name}"]) for name in run.coefficient_names}


def _created(run: ServedRun) -> int:
    rows = run.rows()
    return int(rows["created_at"].max().timestamp()) if len(rows) else 0


def _open(place: Path | str) -> ServedRun:
    directory, state = RunDirectory(place), RunState.load(place)
    plan = directory.plan.read_object()
    if plan is None:
        raise ConfigError(str(place), ["plan.json is missing: the run's config is not known"])
    adapters = run_adapters(directory, state, plan)
    here = {adapter.value: adapter.sha256 for adapter in adapters}
    rows = snapshot(place).evaluations()
    if any(row.adapters and row.adapters != here for row in rows):
        raise ConfigError(directory.place, ["its adapters are not those that its candidates were evaluated with"])
    base_model = run_model(directory, plan, rows[0].base_model) if rows else str(plan["settings"]["base_model"])
    return ServedRun(state.name, directory.place, state.coefficients, adapters, base_model, plan["settings"])
