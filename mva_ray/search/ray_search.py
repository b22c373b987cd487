"""The search on Ray Tune: a generational `Searcher`, and trials that only ask the evaluation broker."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import ray
from ray import tune
from ray.actor import ActorHandle
from ray.tune import Callback, FailureConfig, Trainable
from ray.tune.search import Searcher

from mva_ray.records import Coefficients, Evaluation, Outcome
from mva_ray.search.proposer import Proposer

Scores = tuple[list[float], list[float]] | None
Known = Callable[[Coefficients], Evaluation | None]


class GenerationalSearcher(Searcher):
    """Hands a proposer's generations to Tune one candidate at a time, and waits for the generation to be in.

    Candidates that `known` has are told without a trial: that is how a killed run goes on.

    Args:
        proposer: asked for the next generation only when the last one is told in full, in its own order.
        known: the evaluation of a candidate made earlier, or None.
        size: how many candidates share a batch of the evaluator.
        failed_share: the search stops after a generation where more than this share of all candidates failed.
    """

    def __init__(self, proposer: Proposer, known: Known, size: int, failed_share: float = 0.5) -> None:
        super().__init__(metric="done_candidates", mode="max")
        self._proposer = proposer
        self._known = known
        self._size = size
        self._failed_share = failed_share
        self._generation: list[Coefficients] = []
        self._scores: dict[Coefficients, Scores] = {}
        self._queue: list[dict[str, Any]] = []
        self._running: dict[str, Coefficients] = {}
        self._groups = 0
        self._failed: list[str] = []
        self._told = 0
        self.finished = False

    def replay(self) -> bool:
        """Go as far as known evaluations reach; False where nothing is left to evaluate."""
        while not self._queue and not self.finished and len(self._scores) == len(self._generation):
            self._next_generation()
        return not self.finished

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:
        self.replay()
        if self._queue:
            suggestion = self._queue.pop(0)
            self._running[trial_id] = suggestion["coefficients"]
            return suggestion
        return Searcher.FINISHED if self.finished else None

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        coefficients = self._running.pop(trial_id)
        if error or result is None:
            self._take(coefficients, None, "the trial itself died")
        else:
            self._take(coefficients, result["scores"], result["error"])

    @property
    def evaluated(self) -> int:
        """How many candidates have a result, known or new."""
        return self._told + len(self._scores)

    @property
    def too_many_failed(self) -> str | None:
        """The most common cause where more than the allowed share of all candidates failed."""
        if len(self._failed) <= self._failed_share * self.evaluated:
            return None
        cause = max(dict.fromkeys(self._failed), key=self._failed.count)
        return f"{len(self._failed)} of {self.evaluated} candidates failed; most often: {cause}"

    def save(self, checkpoint_path: str) -> None:
        """Nothing to save: the Pareto table is the checkpoint, replayed through `known`."""
        Path(checkpoint_path).touch()

    def restore(self, checkpoint_path: str) -> None:
        """See `save`."""

    def _next_generation(self) -> None:
        if self._generation:
            self._proposer.tell([_outcome(row, self._scores[row]) for row in self._generation])
            self._told += len(self._generation)
            self._scores = {}
        stop = self.too_many_failed is not None
        self._generation = [] if stop else self._proposer.ask()
        self.finished = not self._generation
        new: list[Coefficients] = []
        for row in self._generation:
            earlier = self._known(row)
            if earlier is None:
                new.append(row)
            else:
                self._take(row, scores_of(earlier), earlier.error)
        for start in range(0, len(new), self._size):
            self._add_group(new[start : start + self._size])

    def _add_group(self, members: list[Coefficients]) -> None:
        shared = {"group": self._groups, "size": len(members)}
        self._queue += [{"coefficients": row, **shared} for row in members]
        self._groups += 1

    def _take(self, coefficients: Coefficients, scores: Scores, error: str | None) -> None:
        self._scores[coefficients] = scores
        if scores is None:
            self._failed.append(error or "unknown")


def scores_of(evaluation: Evaluation) -> Scores:
    """Mean rewards and their standard errors, in the order of the values; None for a failed candidate."""
    if evaluation.status != "ok":
        return None
    values = list(evaluation.coefficients)
    return [evaluation.reward_mean[value] for value in values], [evaluation.reward_se[value] for value in values]


def _outcome(coefficients: Coefficients, scores: Scores) -> Outcome:
    if scores is None:
        return Outcome(coefficients, None)
    means, errors = scores
    return Outcome(coefficients, tuple(means), tuple(errors))


class CandidateTrial(Trainable):
    """One candidate: asks the broker and reports. Imports no torch; its process is reused for the next one."""

    def setup(self, config: dict[str, Any], broker: ActorHandle) -> None:
        self._broker = broker
        self._suggestion = config

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        self._suggestion = new_config
        return True

    def step(self) -> dict[str, Any]:
        asked = self._suggestion
        coefficients = tuple(asked["coefficients"])
        evaluation: Evaluation = ray.get(
            self._broker.evaluate.remote("search", asked["group"], asked["size"], coefficients)
        )
        return {
            "done": True,
            "done_candidates": 1,
            "scores": scores_of(evaluation),
            "error": evaluation.error,
        }

    def save_checkpoint(self, checkpoint_dir: str) -> None:
        """A trial has no state: the evaluation is in the table before it reports."""

    def load_checkpoint(self, checkpoint: Any) -> None:
        """See `save_checkpoint`."""


class _Progress(Callback):
    def __init__(self, on_candidate: Callable[[], None]) -> None:
        self._on_candidate = on_candidate

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        self._on_candidate()


def run_search(
    searcher: GenerationalSearcher,
    broker: ActorHandle,
    concurrency: int,
    storage: Path,
    on_candidate: Callable[[], None],
) -> None:
    """Run trials until the searcher has finished. Results are in the table, recorded by the broker.

    Args:
        concurrency: trials at once; at least the searcher's group size, or a group never fills.
        storage: where Tune keeps its own files.
        on_candidate: called after each trial.
    """
    tune.Tuner(
        tune.with_resources(tune.with_parameters(CandidateTrial, broker=broker), {"CPU": 0.01}),
        tune_config=tune.TuneConfig(
            search_alg=searcher, num_samples=-1, max_concurrent_trials=concurrency, reuse_actors=True
        ),
        run_config=tune.RunConfig(
            name="search",
            storage_path=str(storage),
            verbose=0,
            callbacks=[_Progress(on_candidate)],
            failure_config=FailureConfig(max_failures=2),
        ),
    ).fit()
