"""The searcher between NSGA-II and Ray Tune, called as Tune calls it but without Ray running."""

import random
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ray.tune.experiment import Trial
from ray.tune.schedulers import TrialScheduler
from ray.tune.search import Searcher

from mva_ray.errors import CandidateFailure
from mva_ray.evaluation.evaluate import EvaluationSetting, failed, succeeded
from mva_ray.records import Coefficients, Evaluation, Generation, Outcome
from mva_ray.search.racing import Race
from mva_ray.search.ray_racing import RacingScheduler
from mva_ray.search.ray_search import GenerationalSearcher, rewards_of
from mva_ray.search.ray_trial import Proposal
from tests.support import surfaces
from tests.support.surfaces import make

Result = dict[str, Any]
PROMPTS = 24
ADAPTERS = {"warm": "a", "brief": "b"}
SETTING = EvaluationSetting("now", "search", ("p",) * PROMPTS, ("warm", "brief"), "org/tiny", ADAPTERS, {}, 0)
LEVELS = np.random.default_rng(0).normal(0, 0.1, (PROMPTS, 2))


class Scripted(surfaces.Scripted):
    """Keeps what it is told generation by generation, too."""

    def __init__(self, generations: Sequence[Sequence[Coefficients]]) -> None:
        super().__init__(generations)
        self.told: list[tuple[list[Coefficients], list[list[float] | None]]] = []
        self.errors: list[list[float]] = []

    def tell(self, outcomes: Sequence[Outcome]) -> None:
        super().tell(outcomes)
        rewards = [None if outcome.rewards is None else list(outcome.rewards) for outcome in outcomes]
        self.told.append(([outcome.coefficients for outcome in outcomes], rewards))
        self.errors += [list(outcome.errors) for outcome in outcomes]


class Overlapping(Scripted):
    """Asks for the next generation while the last one is at work; keeps all that happens to it, in order."""

    def __init__(self, generations: Sequence[Sequence[Coefficients]]) -> None:
        super().__init__(generations)
        self.events: list[list[Coefficients]] = []

    @property
    def ready(self) -> bool:
        return self._asked - len(self.outcomes) <= 2

    def ask(self) -> list[Coefficients]:
        self.events.append(super().ask())
        return self.events[-1]

    def tell(self, outcomes: Sequence[Outcome]) -> None:
        super().tell(outcomes)
        self.events.append([outcome.coefficients for outcome in outcomes])


def generation(start: int, size: int) -> list[Coefficients]:
    return [(float(number), 0.5) for number in range(start, start + size)]


def nothing(row: Coefficients) -> Evaluation | None:
    return None


def surface(row: Coefficients) -> list[float]:
    return [-((row[0] - 1) ** 2) - row[1] ** 2 / 2, -((row[1] - 1) ** 2) - row[0] ** 2 / 2]


def evaluation_of(row: Coefficients, n_prompts: int = PROMPTS) -> Evaluation:
    """Each prompt has the surface's rewards and a level of its own, 0 on average."""
    rewards = (np.array(surface(row)) + LEVELS - LEVELS.mean(axis=0))[:n_prompts].T.tolist()
    generations = [Generation("p", "x", 1, False)] * n_prompts
    whole = succeeded(SETTING, row, generations, dict(zip(ADAPTERS, rewards, strict=True)), 1.0)
    return whole if n_prompts == PROMPTS else replace(whole, status="stopped", n_prompts=n_prompts)


def failure(row: Coefficients, cause: str = "no luck") -> Evaluation:
    return failed(SETTING, row, CandidateFailure("reward_raised", cause), 1.0)


def evaluated(row: Coefficients, evaluation: Evaluation | None = None, complete: bool = True) -> Result:
    """What a trial reports of a candidate."""
    evaluation = evaluation or evaluation_of(row)
    return {"evaluation": evaluation, "rewards": rewards_of(evaluation), "complete": complete}


def whole(proposal: Proposal) -> Result:
    return evaluated(proposal.coefficients)


def failing(row: Coefficients, cause: str = "no luck") -> Result:
    return evaluated(row, failure(row, cause))


def nsga(known: Callable[[Coefficients], Evaluation | None] = nothing, budget: int = 40) -> GenerationalSearcher:
    return GenerationalSearcher(make("nsga2", [(0, 1.5)] * 2, budget, seed=3), known)


class Queue:
    """What a searcher hands out."""

    def __init__(self, searcher: GenerationalSearcher) -> None:
        self.proposals: list[Proposal | None] = []
        self.complete = False
        searcher.connect(self.extend)

    def extend(self, proposals: Sequence[Proposal | None], complete: bool) -> None:
        assert not (self.complete and proposals), "nothing comes after the last"
        self.proposals += proposals
        self.complete = complete

    @property
    def rows(self) -> list[Coefficients]:
        return [proposal.coefficients for proposal in self.proposals if proposal]


def drive(
    searcher: GenerationalSearcher,
    order: Callable[[list[str]], str],
    outcome: Callable[[Proposal], Result | None] = whole,
    concurrency: int = 6,
) -> list[Coefficients]:
    """Run trials as Tune does, until FINISHED: so many at once, of which those with a candidate end in some order."""
    queue = Queue(searcher)
    running: dict[str, int] = {}
    places = 0

    def end_one() -> None:
        trial = order([trial for trial, place in running.items() if place < len(queue.proposals)])
        proposal = queue.proposals[running.pop(trial)]
        assert proposal
        ended = outcome(proposal)
        searcher.on_trial_complete(trial_id=trial, result=ended, error=ended is None)

    while (suggested := searcher.suggest(f"t{places}")) != Searcher.FINISHED:
        assert isinstance(suggested, dict)
        running[f"t{places}"] = suggested["place"]
        places += 1
        if len(running) == concurrency:
            end_one()
    assert queue.complete
    while min(running.values(), default=len(queue.proposals)) < len(queue.proposals):
        end_one()
    for trial, place in running.items():
        searcher.on_trial_complete(trial_id=trial, result={"place": place})
    return queue.rows


def first_of(trials: Sequence[str]) -> str:
    return trials[0]


def last_of(trials: Sequence[str]) -> str:
    return trials[-1]


def test_a_generation_is_handed_out_and_then_waited_for() -> None:
    """Trials may wait at places of the next generation; anything handed out there now would ignore the rewards."""
    proposer = Scripted([generation(0, 3), generation(3, 2)])
    searcher = GenerationalSearcher(proposer, nothing)
    queue = Queue(searcher)
    assert [searcher.suggest(f"t{place}") for place in range(5)] == [{"place": place} for place in range(5)]
    assert queue.rows == generation(0, 3)
    for place in (0, 2):
        searcher.on_trial_complete(trial_id=f"t{place}", result=evaluated(queue.rows[place]))
    assert queue.rows == generation(0, 3)
    assert proposer.told == []
    searcher.on_trial_complete(trial_id="t1", result=evaluated(queue.rows[1]))
    assert queue.rows == generation(0, 5)
    assert [row for row, _ in zip(*proposer.told[0], strict=True)] == generation(0, 3)
    assert proposer.told[0][1] == [pytest.approx(surface(row)) for row in generation(0, 3)]


def test_the_search_ends_when_the_proposer_has_no_more() -> None:
    proposer = Scripted([generation(0, 2)])
    searcher = GenerationalSearcher(proposer, nothing)
    assert drive(searcher, order=first_of) == generation(0, 2)
    assert searcher.finished
    assert searcher.evaluated == 2
    assert searcher.suggest("later") == Searcher.FINISHED
    assert searcher.too_many_failed is None
    assert len(proposer.told) == 1, "the last generation is told too"


def test_a_search_without_any_candidate_is_finished_at_once() -> None:
    searcher = GenerationalSearcher(Scripted([]), nothing)
    assert drive(searcher, order=first_of) == []
    assert searcher.too_many_failed is None


@pytest.mark.parametrize("concurrency", [2, 20])
@pytest.mark.parametrize("seed", range(4))
def test_the_order_in_which_trials_end_changes_no_proposal(seed: int, concurrency: int) -> None:
    """This is what makes a run on two machines, or a resumed one, the same run."""
    in_order = drive(nsga(), order=first_of)
    shuffled = drive(nsga(), order=random.Random(seed).choice, concurrency=concurrency)
    assert shuffled == in_order
    assert len(in_order) == 40


@pytest.mark.parametrize("done", [0, 1, 3, 8, 13, 39, 40])
def test_known_candidates_are_replayed_without_trials_to_the_same_sequence(done: int) -> None:
    """A killed run goes on where it was; whatever was evaluated is never evaluated again."""
    undisturbed = drive(nsga(), order=first_of)
    table = {row: evaluation_of(row) for row in undisturbed[:done]}
    searcher = nsga(table.get)
    assert searcher.replay() == (done < 40)
    assert drive(searcher, order=last_of) == undisturbed[done:]
    assert searcher.evaluated == 40


def test_candidates_known_out_of_order_are_replayed_too() -> None:
    """Killed in the middle of a generation, any part of it may be in the table."""
    undisturbed = drive(nsga(), order=first_of)
    table = {row: evaluation_of(row) for row in [undisturbed[9], undisturbed[0], undisturbed[4]]}
    rest = [row for row in undisturbed if row not in table]
    assert drive(nsga(table.get), order=first_of) == rest


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("done", [0, 3, 4, 7])
def test_generations_that_overlap_are_asked_for_and_told_in_the_same_order_whoever_ends_first(
    seed: int, done: int
) -> None:
    """A third one is asked for once the first is told, even where the second ends before it; so is a killed run."""
    generations = [generation(0, 2), generation(2, 2), generation(4, 2), generation(6, 1)]
    rows = [row for rows in generations for row in rows]
    random.Random(seed).shuffle(rows)
    table = {row: evaluation_of(row) for row in rows[:done]}
    proposer = Overlapping(generations)
    drive(GenerationalSearcher(proposer, table.get), order=random.Random(seed).choice)
    first, second, third, fourth = generations
    assert proposer.events == [first, second, first, third, second, fourth, third, [], fourth]


def test_a_race_ignores_whoever_was_admitted_after_the_candidate_entered() -> None:
    """With two generations at work the earlier one may be told while the later one is stopped or not."""
    race = Race(PROMPTS, 8, 0.05)
    rewards = {row: rewards_of(evaluation_of(row)) for row in (GOOD, BETTER, BAD)}
    race.enter([BAD])
    race.admit({row: rewards[row] for row in (GOOD, BETTER)}, [GOOD, BETTER])
    assert race.dominating(BAD, rewards[BAD][:8]) is None
    race.enter([BAD])
    assert race.dominating(BAD, rewards[BAD][:8]) == GOOD


def test_replaying_again_changes_nothing() -> None:
    """It is called before any actor is started, and after every trial."""
    searcher = nsga()
    assert searcher.replay()
    assert searcher.replay()
    assert drive(searcher, order=first_of) == drive(nsga(), order=first_of)


def test_known_failures_are_told_as_failures() -> None:
    first = generation(0, 3)
    table = {first[0]: failure(first[0])}
    proposer = Scripted([first])
    searcher = GenerationalSearcher(proposer, table.get)
    assert drive(searcher, order=first_of) == first[1:]
    assert [rewards is None for rewards in proposer.told[0][1]] == [True, False, False]


def fails_for(count: int, causes: Sequence[str]) -> Callable[[Proposal], Result]:
    def outcome(proposal: Proposal) -> Result:
        number = int(proposal.coefficients[0])
        return failing(proposal.coefficients, causes[number % len(causes)]) if number < count else whole(proposal)

    return outcome


def test_more_than_half_failed_stops_the_search_with_the_most_common_cause() -> None:
    searcher = GenerationalSearcher(Scripted([generation(0, 6), generation(6, 6)]), nothing)
    causes = ["out of luck", "no such word", "no such word"]
    started = drive(searcher, order=first_of, outcome=fails_for(5, causes))
    assert started == generation(0, 6), "the second generation is not begun"
    assert searcher.too_many_failed == "5 of 6 candidates failed; most often: no such word"


def test_half_failed_goes_on() -> None:
    searcher = GenerationalSearcher(Scripted([generation(0, 6), generation(6, 6)]), nothing)
    assert len(drive(searcher, order=first_of, outcome=fails_for(3, ["no luck"]))) == 12
    assert searcher.too_many_failed is None


def test_failures_late_in_a_good_run_do_not_stop_it() -> None:
    """The share is that of all candidates: one generation in a bad corner is part of a search."""

    def outcome(proposal: Proposal) -> Result:
        row = proposal.coefficients
        return failing(row, "bad corner") if row[0] >= 6 else evaluated(row)

    searcher = GenerationalSearcher(Scripted([generation(0, 6), generation(6, 4), generation(20, 1)]), nothing)
    assert len(drive(searcher, order=first_of, outcome=outcome)) == 11
    assert searcher.too_many_failed is None


def test_a_trial_that_dies_is_a_failed_candidate() -> None:
    """Tune says so with error=True and no result, after its retries."""
    proposer = Scripted([generation(0, 2)])
    searcher = GenerationalSearcher(proposer, nothing)
    drive(searcher, order=first_of, outcome=lambda proposal: None)
    assert proposer.told == [(generation(0, 2), [None, None])]
    assert searcher.too_many_failed == "2 of 2 candidates failed; most often: the trial itself died"


def test_a_trial_that_dies_while_it_waits_costs_no_candidate() -> None:
    """Nobody asks for its place any more: a candidate that was put there would be waited for, for ever."""
    searcher = GenerationalSearcher(Scripted([generation(0, 1), generation(1, 2)]), nothing)
    queue = Queue(searcher)
    for place in range(4):
        searcher.suggest(f"t{place}")
    searcher.on_trial_complete("t1", None, error=True)
    searcher.on_trial_complete("t0", evaluated((0.0, 0.5)))
    assert [proposal and proposal.coefficients for proposal in queue.proposals] == [
        (0.0, 0.5),
        None,
        (1.0, 0.5),
        (2.0, 0.5),
    ]
    for place in (2, 3):
        searcher.on_trial_complete(f"t{place}", evaluated(queue.rows[place - 1]))
    assert queue.complete
    assert searcher.evaluated == 3


def test_an_error_of_the_run_ends_the_search_and_is_no_failed_candidate() -> None:
    """Trials that wait are let go, those that end afterwards change nothing."""
    proposer = Scripted([generation(0, 3), generation(3, 3)])
    searcher = GenerationalSearcher(proposer, nothing)
    queue = Queue(searcher)
    for trial in ("a", "b", "c", "d"):
        searcher.suggest(trial)
    searcher.on_trial_complete("a", {"done": True, "place": 0, "run_error": "the server fails"})
    assert queue.complete
    searcher.on_trial_complete("b", {"done": True, "place": 1, "run_error": "the server still fails"})
    searcher.on_trial_complete("c", whole(Proposal((2.0, 0.5))))
    searcher.on_trial_complete("d", {"done": True, "place": 3})
    assert searcher.run_error == "the server fails"
    assert searcher.suggest("e") == Searcher.FINISHED
    assert proposer.told == []


def test_tune_may_save_and_restore_it(tmp_path: Path) -> None:
    """There is nothing to save: the table is the checkpoint."""
    searcher = GenerationalSearcher(Scripted([generation(0, 2)]), nothing)
    searcher.save(str(tmp_path / "state"))
    searcher.restore(str(tmp_path / "state"))
    assert Queue(searcher).rows == generation(0, 2)


def test_the_proposer_is_told_the_standard_errors_of_known_and_new_candidates() -> None:
    """They are the surrogate's noise; a failed candidate has none."""
    rows = generation(0, 3)
    proposer = Scripted([rows])
    searcher = GenerationalSearcher(proposer, {rows[0]: evaluation_of(rows[0])}.get)
    drive(
        searcher, order=first_of, outcome=lambda asked: failing(rows[2]) if asked == Proposal(rows[2]) else whole(asked)
    )
    expected = (LEVELS.std(axis=0, ddof=1) / PROMPTS**0.5).tolist()
    assert proposer.errors == [pytest.approx(expected), pytest.approx(expected), []]


def test_the_proposer_is_told_the_constraints() -> None:
    proposer = Scripted([generation(0, 2)])
    searcher = GenerationalSearcher(proposer, nothing, constraints_of=lambda row: (row.coefficients["warm"] - 0.5,))
    drive(searcher, order=first_of)
    assert [outcome.constraints for outcome in proposer.outcomes] == [(-0.5,), (0.5,)]


GOOD: Coefficients = (0.5, 0.5)
BETTER: Coefficients = (0.6, 0.6)
BAD: Coefficients = (1.4, 1.4)
"""On `surface`, the last is far behind the others on both values."""


def racing(
    generations: Sequence[Sequence[Coefficients]],
    known: Callable[[Coefficients], Evaluation | None] = nothing,
    constraints_of: Callable[[Evaluation], tuple[float, ...]] = lambda evaluation: (),
) -> tuple[Scripted, list[Coefficients], dict[Coefficients, str]]:
    """A search with looks after 8 and 16 of 24 prompts: what was told, what was run, and what was stopped and why."""
    proposer, stopped = Scripted(generations), dict[Coefficients, str]()
    searcher = GenerationalSearcher(proposer, known, constraints_of, Race(PROMPTS, 8, 0.05))
    scheduler = RacingScheduler(searcher.race, stopped.__setitem__)
    trial = Trial("CandidateTrial", stub=True)

    def outcome(proposal: Proposal) -> Result:
        row = proposal.coefficients
        for look in proposal.looks:
            report = {"coefficients": row, **evaluated(row, evaluation_of(row, look or PROMPTS), complete=not look)}
            if look and scheduler.on_trial_result(None, trial, report) == TrialScheduler.STOP:
                break
        return report

    return proposer, drive(searcher, order=last_of, outcome=outcome), stopped


FIRST: list[Coefficients] = [GOOD, (1.0, 0.0), (0.0, 1.0)]


def test_a_dominated_candidate_is_stopped_and_told_with_what_there_is_of_it() -> None:
    proposer, _, stopped = racing([FIRST, [BAD, BETTER]])
    assert stopped == {BAD: f"dominated by {GOOD} after 8 prompts"}
    told = {outcome.coefficients: outcome for outcome in proposer.outcomes}
    seen = np.array(surface(BAD)) + LEVELS[:8] - LEVELS.mean(axis=0)
    assert told[BAD].rewards == pytest.approx(tuple(seen.mean(axis=0)))
    assert told[BAD].errors == pytest.approx(tuple(seen.std(axis=0, ddof=1) / 8**0.5))
    assert told[BETTER].rewards == pytest.approx(surface(BETTER))


def test_the_first_generation_and_peers_are_never_stopped() -> None:
    """References are needed whole, and a race among peers would depend on who is first."""
    assert racing([[GOOD, BAD, BETTER]])[2] == {}
    assert racing([[BAD, (1.5, 1.5)], [GOOD, (1.38, 1.38)]])[2] == {}


def test_an_infeasible_candidate_stops_nobody() -> None:
    """However good its rewards: it will not be on the front."""
    stopped = racing(
        [FIRST, [BAD]], constraints_of=lambda row: (0.1 if tuple(row.coefficients.values()) != BAD else 0,)
    )
    assert stopped[2] == {}


def test_a_stopped_row_counts_when_a_killed_run_goes_on() -> None:
    generations: list[list[Coefficients]] = [FIRST, [BAD, BETTER], [(0.6, 0.4)]]
    table = {row: evaluation_of(row) for row in FIRST} | {BAD: evaluation_of(BAD, 8)}
    proposer, run, stopped = racing(generations, table.get)
    assert run == [BETTER, (0.6, 0.4)]
    assert stopped == {}
    assert proposer.told == racing(generations)[0].told


@pytest.mark.parametrize("row", [evaluation_of(BAD, 16), evaluation_of(BETTER, 8)])
def test_a_stopped_row_that_this_race_would_not_have_stopped_there_is_run(row: Evaluation) -> None:
    """A race with other settings stopped it: later than this one would, or where this one would not."""
    coefficients: Coefficients = (row.coefficients["warm"], row.coefficients["brief"])
    assert racing([FIRST, [coefficients]], {coefficients: row}.get)[1] == [*FIRST, coefficients]


def test_without_a_race_a_stopped_row_is_run_to_its_end() -> None:
    searcher = GenerationalSearcher(Scripted([FIRST, [BAD]]), {BAD: evaluation_of(BAD, 8)}.get)
    queue = Queue(searcher)
    for place, row in enumerate([*FIRST, BAD]):
        searcher.suggest(f"t{place}")
        searcher.on_trial_complete(f"t{place}", evaluated(row))
    assert queue.proposals[-1] == Proposal(BAD, (None,))
