"""What stages 3 and 4 ask of candidates: what is known of them, and a broker that finds out the rest."""

from collections.abc import Sequence
from contextlib import ExitStack
from types import TracebackType
from typing import TYPE_CHECKING, Self

from tqdm.auto import tqdm

from mva_ray.adapters.parts import split_by_block
from mva_ray.constraints import is_measured
from mva_ray.evaluation.evaluate import EvaluationSetting
from mva_ray.evaluation.known import KnownAnswers, earlier_candidates, summary
from mva_ray.records import JUDGING, AdapterRef, Coefficients, Evaluation, in_order
from mva_ray.run_dir.run_state import RunState
from mva_ray.run_dir.spending import EVALUATIONS, Spending, spending
from mva_ray.search.references import in_blocks, most_references, reference_candidates
from mva_ray.stages.run import Run
from mva_ray.stages.warm_start import earlier_runs
from mva_ray.table import ParetoTable

if TYPE_CHECKING:
    from mva_ray.evaluation.ray_broker import Broker


class Evaluations:
    """The candidates of a run by split; actors start when the first one is not known, and end with the context.

    Args:
        run: its state becomes that of this run's config.
        adapters: one a value.
    """

    def __init__(self, run: Run, adapters: Sequence[AdapterRef]) -> None:
        self._run = run
        self._adapters = split_by_block(adapters, run.config.search.coefficients_per_value)
        self._stack = ExitStack()
        self._broker: Broker | None = None
        self.table = ParetoTable(run.directory.place)
        self.settings = {split: self._setting(split) for split in JUDGING}
        self._save_state()
        earlier = earlier_runs(run.config)
        for directory, rows in earlier.items():
            print(summary(self.settings["search"], directory, rows))
        self._earlier = [row for rows in earlier.values() for row in rows]
        self.warm = earlier_candidates(self.settings["search"], self._earlier)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.__exit__(kind, error, trace)

    @property
    def broker(self) -> "Broker":
        if self._broker is None:
            from mva_ray.evaluation.ray_broker import evaluation_broker  # takes seconds, and may not be needed

            self._run.start_ray()
            rows = [*self._earlier, *self.table.evaluations(with_generations=True)]
            known = KnownAnswers(rows)
            record, reserving = self.table.append, self._run.meter.reserving(EVALUATIONS)
            actors = evaluation_broker(self._run.shared, self._adapters, self.settings, record, known, reserving)
            self._broker = self._stack.enter_context(actors)
        return self._broker

    def known(self, split: str) -> dict[Coefficients, Evaluation]:
        """Evaluations that need no repeating; a candidate that failed in an earlier run is tried again."""
        found = self.answered(split, with_generations=False)
        return {row: rows[-1] for row, rows in found.items() if rows[-1].status == "ok"}

    def answered(self, split: str, with_generations: bool = True) -> dict[Coefficients, list[Evaluation]]:
        """All rows of each candidate that did not fail and have what is needed, those with most prompts last."""
        setting = self.settings[split]
        found: dict[Coefficients, list[Evaluation]] = {}
        for row in self.table.evaluations(setting.context, split, with_generations):
            current = row.prompts_hash == setting.prompts_hash and row.status != "failed"
            if current and is_measured(row, setting.constraints):
                found.setdefault(in_order(row.coefficients, setting.adapters), []).append(row)
        return {row: sorted(rows, key=lambda one: one.n_prompts) for row, rows in found.items()}

    def spending(self) -> Spending:
        """What the run has cost by now."""
        settings = self._run.config.model_dump(include={"prices"})
        return spending(self.table.evaluations(), self._run.meter.phases(), settings)

    def evaluate(self, split: str, candidates: Sequence[Coefficients], what: str, stage: str) -> None:
        """Evaluate those that are not known yet; the broker records them, and the time it takes is the stage's."""
        known = self.known(split) if candidates else {}
        if missing := [row for row in candidates if row not in known]:
            from mva_ray.evaluation.ray_broker import evaluate_all

            with self._run.timed(stage):
                done = evaluate_all(self.broker, split, missing)
                for _ in tqdm(done, total=len(missing), desc=what, unit="candidate"):
                    pass

    def references(self) -> list[Coefficients]:
        """The candidates that every search begins with, base model and single adapters first: all blocks alike."""
        search, n_values = self._run.config.search, len(self._run.config.values)
        per_value = reference_candidates(n_values, search.convex_partitions, most_references(search.candidates))
        return [in_blocks(row, search.coefficients_per_value) for row in per_value]

    def at_once(self, split: str) -> int:
        """How many candidates fill the rows of every evaluator."""
        return self._run.config.search.evaluators * -(-self._run.rows // len(self.settings[split].prompts))

    def _setting(self, split: str) -> EvaluationSetting:
        config, plan = self._run.config, self._run.plan
        return EvaluationSetting(
            context=plan.context,
            split=split,
            prompts=plan.prompts[split],
            values=tuple(config.value_names),
            base_model=f"{config.written_base_model} {plan.base_hash[:12]}",
            adapters={ref.value: ref.sha256 for ref in self._adapters},
            rewards=plan.rewards,
            seed=config.seed,
            generator=plan.generator,
            constraints=plan.constraints,
        )

    def _save_state(self) -> None:
        config, plan = self._run.config, self._run.plan
        RunState(
            config.name,
            tuple(config.value_names),
            plan.context,
            {split: setting.prompts_hash for split, setting in self.settings.items()},
            plan.constraints,
            config.search.coefficients_per_value,
        ).save(self._run.directory.place)
