"""The search on Ray Tune: a generational `Searcher`, and trials that only ask the evaluation broker."""

import os
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import ray
from ray import tune
from ray.actor import ActorHandle
from ray.tune import Callback, FailureConfig
from ray.tune.search import Searcher

from mva_ray.config.search import TRIAL_CPU
from mva_ray.errors import RunError
from mva_ray.records import Coefficients, Evaluation, Outcome
from mva_ray.search.proposer import Proposer
from mva_ray.search.racing import Race, Rewards
from mva_ray.search.ray_racing import RacingScheduler
from mva_ray.search.ray_trial import CandidateTrial, Proposal, ProposalQueue

Known = Callable[[Coefficients], Evaluation | None]
HandOut = Callable[[Sequence[Proposal | None], bool], None]

NO_SNAPSHOTS = {"TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1", "TUNE_GLOBAL_CHECKPOINT_S": "inf"}
"""The Pareto table is the checkpoint and the log: Tune writes neither."""


def no_constraints(evaluation: Evaluation) -> tuple[float, ...]:
    """Every candidate is feasible."""
    return ()


class GenerationalSearcher(Searcher):
    """Hands out a proposer's generations one candidate at a time, the next one as soon as the proposer is ready for it.

    Generations are told whole and in the order of proposal, so that no proposal depends on the order in which trials
    finish.

    Tune is given places in the queue of proposals, not coefficients, so that trials may wait for a generation that is
    not proposed yet. Candidates that `known` has are told without a trial: that is how a killed run goes on.

    Args:
        proposer: told the outcomes of a generation in its own order.
        known: the evaluation of a candidate made earlier, with its generations where there is a race, or None.
        constraints_of: the constraints of an evaluation, each satisfied where it is at most 0.
        race: stops dominated candidates, from the second generation on; nobody is stopped without one.
        failed_share: the search stops after a generation where more than this share of all candidates failed.
    """

    def __init__(
        self,
        proposer: Proposer,
        known: Known,
        constraints_of: Callable[[Evaluation], tuple[float, ...]] = no_constraints,
        race: Race | None = None,
        failed_share: float = 0.5,
    ) -> None:
        super().__init__(metric="training_iteration", mode="max")
        self._proposer = proposer
        self._known = known
        self._constraints_of = constraints_of
        self.race = race
        self._failed_share = failed_share
        self._generations: deque[list[Coefficients]] = deque()
        self._outcomes: dict[Coefficients, Outcome] = {}
        self._causes: dict[Coefficients, str] = {}
        self._complete: dict[Coefficients, Rewards] = {}
        self._proposals: list[Proposal | None] = []
        self._handed_out = 0
        self._hand_out: HandOut | None = None
        self._places = 0
        self._lost: set[int] = set()
        self._running: dict[str, int] = {}
        self._failed: list[str] = []
        self._told = 0
        self.finished = False
        self.run_error: str | None = None

    def replay(self) -> bool:
        """Go as far as known evaluations reach; False where nothing is left to evaluate."""
        while True:
            if not self.finished and self._proposer.ready:
                self._next_generation()
            elif self._generations and all(row in self._outcomes for row in self._generations[0]):
                self._tell(self._generations.popleft())
            else:
                return bool(self._generations)

    def connect(self, hand_out: HandOut) -> None:
        """Give every proposal to `hand_out`, place by place, and say when it was the last; None is a place to skip."""
        self._hand_out = hand_out
        self._go_on()

    def suggest(self, trial_id: str) -> dict[str, Any] | str:
        if self.run_error or (self.finished and self._places >= len(self._proposals)):
            return str(Searcher.FINISHED)
        self._running[trial_id] = self._places
        self._places += 1
        return {"place": self._running[trial_id]}

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        place = self._running.pop(trial_id)
        if self.run_error:
            return
        if result and "run_error" in result:
            self.run_error, self.finished = result["run_error"], True
            self._go_on()
            return
        if place >= len(self._proposals):
            self._lost.add(place)
            return
        proposal = self._proposals[place]
        assert proposal is not None
        if error or result is None:
            self._fail(proposal.coefficients, "the trial itself died")
        else:
            self._take(proposal.coefficients, result["evaluation"], result["rewards"], result["complete"])
        self._go_on()

    @property
    def evaluated(self) -> int:
        """How many candidates have a result, known or new."""
        return self._told + len(self._outcomes)

    @property
    def too_many_failed(self) -> str | None:
        """The most common cause where more than the allowed share of all candidates told failed."""
        if len(self._failed) <= self._failed_share * self._told:
            return None
        cause = max(dict.fromkeys(self._failed), key=self._failed.count)
        return f"{len(self._failed)} of {self._told} candidates failed; most often: {cause}"

    def save(self, checkpoint_path: str) -> None:
        """Nothing to save: the Pareto table is the checkpoint, replayed through `known`."""
        Path(checkpoint_path).touch()

    def restore(self, checkpoint_path: str) -> None:
        """See `save`."""

    def _go_on(self) -> None:
        if not self.run_error:
            self.replay()
        if self._hand_out:
            self._hand_out(self._proposals[self._handed_out :], self.finished)
            self._handed_out = len(self._proposals)

    def _next_generation(self) -> None:
        generation = [] if self.too_many_failed else self._proposer.ask()
        self.finished = not generation
        if generation:
            self._generations.append(generation)
        if self.race:
            self.race.enter(generation)
        for row in generation:
            earlier = self._known(row)
            if earlier is None or (earlier.status == "stopped" and not self._stops_again(row, earlier)):
                self._propose(row)
            else:
                self._take(row, earlier, rewards_of(earlier), earlier.status == "ok")

    def _tell(self, generation: Sequence[Coefficients]) -> None:
        outcomes = [self._outcomes.pop(row) for row in generation]
        self._proposer.tell(outcomes)
        if self.race:
            known = {row: self._complete.pop(row) for row in generation if row in self._complete}
            feasible = {told.coefficients for told in outcomes if all(g <= 0 for g in told.constraints)}
            self.race.admit(known, [row for row in known if row in feasible])
        self._failed += [self._causes.pop(row) for row in generation if row in self._causes]
        self._told += len(generation)

    def _propose(self, row: Coefficients) -> None:
        while len(self._proposals) in self._lost:
            self._proposals.append(None)
        looks = self.race.looks if self.race and self._told else ()
        self._proposals.append(Proposal(row, (*looks, None)))

    def _stops_again(self, row: Coefficients, evaluation: Evaluation) -> bool:
        """Whether this race, too, stops a candidate after as many prompts as an earlier one did."""
        return self.race is not None and bool(self._told) and self.race.stops_at(row, rewards_of(evaluation))

    def _take(self, row: Coefficients, evaluation: Evaluation, rewards: Rewards, complete: bool) -> None:
        if evaluation.status == "failed":
            self._fail(row, evaluation.error or "unknown")
            return
        self._outcomes[row] = outcome_of(row, evaluation, self._constraints_of(evaluation))
        if complete and rewards:
            self._complete[row] = rewards

    def _fail(self, row: Coefficients, error: str) -> None:
        self._outcomes[row] = Outcome(row, None)
        self._causes[row] = error


def outcome_of(row: Coefficients, evaluation: Evaluation, constraints: tuple[float, ...]) -> Outcome:
    """What a search is told of an evaluation that did not fail."""
    means, errors = evaluation.reward_mean.values(), evaluation.reward_se.values()
    return Outcome(row, tuple(means), tuple(errors), constraints)


def rewards_of(evaluation: Evaluation) -> Rewards:
    """The rewards [n][k] of each prompt, in the order of the prompts and of the values."""
    return [list(scored.rewards.values()) for scored in evaluation.generations]


class _Progress(Callback):
    def __init__(self, on_candidate: Callable[[], None]) -> None:
        self._on_candidate = on_candidate

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        if "evaluation" in trial.last_result:
            self._on_candidate()


def run_search(
    searcher: GenerationalSearcher,
    broker: ActorHandle,
    concurrency: int,
    ahead: int,
    storage: Path,
    on_candidate: Callable[[], None],
) -> None:
    """Run trials until the searcher has finished. Results are in the table, recorded by the broker.

    Args:
        concurrency: trials at once, a process of its own for each.
        ahead: how many more candidates the broker is asked for before a trial takes them.
        storage: where Tune keeps its own files.
        on_candidate: called after each trial.

    Raises:
        RunError: no candidate can be evaluated any more; what was evaluated is recorded.
    """
    for name, setting in NO_SNAPSHOTS.items():
        os.environ.setdefault(name, setting)
    queue = ray.remote(ProposalQueue).options(num_cpus=0, max_concurrency=10_000).remote(broker, ahead)
    searcher.connect(lambda proposals, complete: queue.extend.remote(proposals, complete))
    ray.get(broker.ready.remote())  # trials that start beside it would take its cores

    def stop(coefficients: Coefficients, reason: str) -> None:
        ray.get(broker.stop.remote("search", coefficients, reason))

    tune.Tuner(
        tune.with_resources(tune.with_parameters(CandidateTrial, broker=broker, queue=queue), {"CPU": TRIAL_CPU}),
        tune_config=tune.TuneConfig(
            search_alg=searcher,
            scheduler=RacingScheduler(searcher.race, stop),
            num_samples=-1,
            max_concurrent_trials=concurrency,
            reuse_actors=True,
        ),
        run_config=tune.RunConfig(
            name="search",
            storage_path=str(storage),
            verbose=0,
            callbacks=[_Progress(on_candidate)],
            failure_config=FailureConfig(max_failures=2),
        ),
    ).fit()
    ray.kill(queue)
    if searcher.run_error:
        raise RunError(searcher.run_error)
