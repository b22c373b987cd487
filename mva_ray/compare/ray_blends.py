"""Blends of one seed's adapters, evaluated on Ray and kept in a Pareto table: nothing is evaluated twice."""

from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Self

from tqdm.auto import tqdm

from mva_ray.compare.scoring import Blend
from mva_ray.config import RunConfig
from mva_ray.constraints import is_measured
from mva_ray.evaluation.evaluate import EvaluationSetting
from mva_ray.evaluation.known import KnownAnswers
from mva_ray.evaluation.ray_broker import evaluate_all, evaluation_broker
from mva_ray.records import AdapterRef, Evaluation
from mva_ray.table import ParetoTable


class Evaluations:
    """Evaluates blends; a context manager, since it holds actors.

    Args:
        config: of the run.
        adapters: every adapter that is blended, by key (`AdapterRef.value`).
        settings: what is evaluated, by split; their adapters are these.
        table: where rows go; those already there are not computed again.
    """

    def __init__(
        self,
        config: RunConfig,
        adapters: Sequence[AdapterRef],
        settings: Mapping[str, EvaluationSetting],
        table: ParetoTable,
    ) -> None:
        self._config, self._adapters, self._settings, self._table = config, adapters, settings, table
        self._known = {split: self._read(split) for split in settings}

    def __enter__(self) -> Self:
        known = KnownAnswers(self._table.evaluations(with_generations=True))
        self._actors = evaluation_broker(self._config, self._adapters, self._settings, self._table.append, known)
        self._broker = self._actors.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._actors.__exit__(kind, error, trace)

    def evaluate(self, split: str, blends: Sequence[Blend]) -> list[Evaluation]:
        """The evaluations of the blends, in their order, with generations; failures are rows too."""
        known = self._known[split]
        missing = list({_identity(blend): blend for blend in blends if _identity(blend) not in known}.values())
        setting = self._settings[split]
        vectors = [tuple(float(blend.get(name, 0.0)) for name in setting.adapters) for blend in missing]
        done = evaluate_all(self._broker, split, vectors)
        rows = tqdm(done, total=len(vectors), desc=f"models on {split}", unit="model", disable=not vectors)
        failed = {_identity(row.coefficients): row for row in rows if row.status != "ok"}
        if missing:
            known |= self._read(split)
        return [known.get(_identity(blend)) or failed[_identity(blend)] for blend in blends]

    def _read(self, split: str) -> dict[frozenset[tuple[str, float]], Evaluation]:
        """Every successful evaluation there is, measured on every limit, by its coefficients other than 0."""
        setting = self._settings[split]
        rows = self._table.evaluations(setting.context, split, with_generations=True)
        return {
            _identity(row.coefficients): row
            for row in rows
            if row.prompts_hash == setting.prompts_hash and row.status == "ok" and is_measured(row, setting.constraints)
        }


def _identity(blend: Blend) -> frozenset[tuple[str, float]]:
    return frozenset((name, round(number, 4)) for name, number in blend.items() if number)
