"""Writes down what a run generates and records, from inside its own processes, to the file that CHAOS_JOURNAL names.

Python imports a module of this name by itself. It wraps four methods of mva_ray as soon as their modules are imported;
what they do stays as it is.
"""

import importlib.abc
import importlib.util
import json
import os
import socket
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any


def note(what: str, **fields: Any) -> None:
    """One line; several processes of several hosts append to the file."""
    line = json.dumps({"what": what, "at": time.time(), "pid": os.getpid(), "host": socket.gethostname(), **fields})
    descriptor = os.open(os.environ["CHAOS_JOURNAL"], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)
    try:
        os.write(descriptor, f"{line}\n".encode())
    finally:
        os.close(descriptor)


def _watched(begin: Callable[..., Any], keys: Callable[..., list[str]]) -> Callable[..., Any]:
    """A `begin_*` of a generator, whose answers are noted when they are begun and when they are done."""

    def watched(self: Any, *arguments: Any) -> Any:
        asked = keys(*arguments)
        note("begun", keys=asked)
        pending = begin(self, *arguments)

        def read(rows: Any) -> Any:
            result = pending.read(rows)
            note("answered", keys=asked)
            return result

        return replace(pending, read=read)

    return watched


def _generators(module: ModuleType) -> None:
    kind = module.LocalGenerator
    kind.begin_answers = _watched(kind.begin_answers, lambda requests: [f"{[*w]} {prompt}" for w, prompt in requests])
    kind.begin_samples = _watched(kind.begin_samples, lambda prompts, *_: [f"sample {prompt}" for prompt in prompts])


def _samples(module: ModuleType) -> None:
    append = module.SampleStore.append

    def noted(self: Any, samples: Sequence[Sequence[Any]]) -> None:
        append(self, samples)
        note("recorded", keys=[f"sample {drawn[0].prompt}" for drawn in samples], rows=[])

    module.SampleStore.append = noted


def _table(module: ModuleType) -> None:
    append = module.ParetoTable.append

    def noted(self: Any, evaluations: Sequence[Any]) -> None:
        rows = [[row.split, row.candidate, row.created_at.timestamp()] for row in evaluations]
        note("recording", rows=rows)
        append(self, evaluations)
        note("recorded", keys=[key for row in evaluations for key in _answers(row)], rows=rows)

    module.ParetoTable.append = noted


def _answers(row: Any) -> list[str]:
    weights = [row.coefficients[name] for name in row.adapters]
    return [f"{weights} {scored.generation.prompt}" for scored in row.generations]


def _training(module: ModuleType) -> None:
    on_log = module.StepMetrics.on_log

    def noted(self: Any, args: Any, state: Any, control: Any, **fields: Any) -> None:
        on_log(self, args, state, control, **fields)
        note("step", keys=[f"step {state.global_step} of {self._name}"])

    module.StepMetrics.on_log = noted


WRAPPED = {
    "mva_ray.evaluation.local": _generators,
    "mva_ray.run_dir.samples": _samples,
    "mva_ray.table.pareto_table": _table,
    "mva_ray.training.callbacks": _training,
}


class _Finder(importlib.abc.MetaPathFinder):
    """Lets the others find a module, and wraps what is in it once it was executed."""

    def __init__(self) -> None:
        self._within = False

    def find_spec(self, name: str, path: Any, target: ModuleType | None = None) -> ModuleSpec | None:
        if name not in WRAPPED or self._within:
            return None
        self._within = True
        try:
            spec = importlib.util.find_spec(name)
        finally:
            self._within = False
        if spec is None or spec.loader is None:
            return None
        execute = spec.loader.exec_module

        def execute_and_wrap(module: ModuleType) -> None:
            execute(module)
            WRAPPED[name](module)

        spec.loader.exec_module = execute_and_wrap  # type: ignore[method-assign]
        return spec


if "CHAOS_JOURNAL" in os.environ:
    sys.meta_path.insert(0, _Finder())
