"""The search loop on plain fakes: batches, replay, failures, errors of the run, parts of the prompts."""

import random
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import pytest

from mva_ray.constraints import Limit
from mva_ray.errors import CandidateFailure
from mva_ray.evaluation.evaluate import EvaluationSetting, failed, succeeded
from mva_ray.records import Coefficients, Evaluation, Generation, Outcome, Proposal
from mva_ray.search.results import Reader, Result
from mva_ray.search.rounds import Known, Rounds
from tests.support import surfaces
from tests.support.surfaces import make

PROMPTS = 24
ADAPTERS = {"warm": "a", "brief": "b"}
SETTING = EvaluationSetting("now", "search", ("p",) * PROMPTS, ("warm", "brief"), "org/tiny", ADAPTERS, {}, 0)
LEVELS = np.random.default_rng(0).normal(0, 0.1, (PROMPTS, 2))
READER = Reader(SETTING.values)


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

    def ask(self) -> list[Proposal]:
        asked = super().ask()
        self.events.append([proposal.coefficients for proposal in asked])
        return asked

    def tell(self, outcomes: Sequence[Outcome]) -> None:
        super().tell(outcomes)
        self.events.append([outcome.coefficients for outcome in outcomes])


def generation(start: int, size: int) -> list[Coefficients]:
    return [(float(number), 0.5) for number in range(start, start + size)]


def surface(row: Coefficients) -> list[float]:
    return [-((row[0] - 1) ** 2) - row[1] ** 2 / 2, -((row[1] - 1) ** 2) - row[0] ** 2 / 2]


def evaluation_of(row: Coefficients, prompts: Sequence[int] = range(PROMPTS)) -> Evaluation:
    """Each prompt has the surface's rewards and a level of its own, 0 on average."""
    rewards = (np.array(surface(row)) + LEVELS - LEVELS.mean(axis=0))[list(prompts)].T.tolist()
    generations = [Generation("p", "x", 1, False)] * len(prompts)
    return succeeded(SETTING, row, generations, dict(zip(ADAPTERS, rewards, strict=True)), 1.0)


def failure(row: Coefficients, cause: str = "no luck") -> Evaluation:
    return failed(SETTING, row, CandidateFailure("reward_raised", cause), 1.0)


def evaluated(row: Coefficients, evaluation: Evaluation | None = None) -> Result:
    """What came of a candidate."""
    return READER.result(Proposal(row), evaluation or evaluation_of(row))


def whole(proposal: Proposal) -> Result:
    return evaluated(proposal.coefficients)


def failing(row: Coefficients, cause: str = "no luck") -> Result:
    return evaluated(row, failure(row, cause))


def nsga(table: dict[Coefficients, Evaluation] | None = None, budget: int = 40) -> Rounds:
    return Rounds(make("nsga2", [(0, 1.5)] * 2, budget, seed=3), known_in(table or {}))


def known_in(table: dict[Coefficients, Evaluation]) -> Known:
    return lambda asked: READER.result(asked, table[asked.coefficients]) if asked.coefficients in table else None


def drive(
    rounds: Rounds,
    order: Callable[[list[Proposal]], Proposal],
    outcome: Callable[[Proposal], Result] = whole,
    concurrency: int = 6,
) -> list[Coefficients]:
    """Evaluate until there is nothing left: so many at once, which end in some order."""
    waiting, running, asked = list[Proposal](), list[Proposal](), list[Coefficients]()
    while True:
        last = rounds.finished
        new = rounds.ask()
        assert not (last and new), "nothing comes after the last"
        waiting += new
        asked += [proposal.coefficients for proposal in new]
        running, waiting = running + waiting[: concurrency - len(running)], waiting[concurrency - len(running) :]
        if not running:
            assert rounds.finished
            return asked
        ends = order(running)
        running.remove(ends)
        rounds.tell(outcome(ends))


def first_of(running: Sequence[Proposal]) -> Proposal:
    return running[0]


def last_of(running: Sequence[Proposal]) -> Proposal:
    return running[-1]


def test_a_generation_is_handed_out_and_then_waited_for() -> None:
    """Anything handed out before all of it has ended would ignore the rewards."""
    proposer = Scripted([generation(0, 3), generation(3, 2)])
    rounds = Rounds(proposer)
    asked = rounds.ask()
    assert [proposal.coefficients for proposal in asked] == generation(0, 3)
    for place in (0, 2):
        rounds.tell(whole(asked[place]))
    assert rounds.ask() == []
    assert proposer.told == []
    assert not rounds.finished
    rounds.tell(whole(asked[1]))
    assert [proposal.coefficients for proposal in rounds.ask()] == generation(3, 2)
    assert [row for row, _ in zip(*proposer.told[0], strict=True)] == generation(0, 3)
    assert proposer.told[0][1] == [pytest.approx(surface(row)) for row in generation(0, 3)]


def test_the_search_ends_when_the_proposer_has_no_more() -> None:
    proposer = Scripted([generation(0, 2)])
    searcher = Rounds(proposer)
    assert drive(searcher, order=first_of) == generation(0, 2)
    assert searcher.finished
    assert searcher.evaluated == 2
    assert [proposal.coefficients for proposal in searcher.proposals] == generation(0, 2)
    assert searcher.ask() == []
    assert searcher.too_many_failed is None
    assert len(proposer.told) == 1, "the last generation is told too"


def test_a_search_without_any_candidate_is_finished_at_once() -> None:
    searcher = Rounds(Scripted([]))
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
    searcher = nsga(table)
    assert searcher.replay() == (done < 40)
    assert drive(searcher, order=last_of) == undisturbed[done:]
    assert searcher.evaluated == 40


def test_candidates_known_out_of_order_are_replayed_too() -> None:
    """Killed in the middle of a generation, any part of it may be in the table."""
    undisturbed = drive(nsga(), order=first_of)
    table = {row: evaluation_of(row) for row in [undisturbed[9], undisturbed[0], undisturbed[4]]}
    rest = [row for row in undisturbed if row not in table]
    assert drive(nsga(table), order=first_of) == rest


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
    drive(Rounds(proposer, known_in(table)), order=random.Random(seed).choice)
    first, second, third, fourth = generations
    assert proposer.events == [first, second, first, third, second, fourth, third, [], fourth]


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
    searcher = Rounds(proposer, known_in(table))
    assert drive(searcher, order=first_of) == first[1:]
    assert [rewards is None for rewards in proposer.told[0][1]] == [True, False, False]


def fails_for(count: int, causes: Sequence[str]) -> Callable[[Proposal], Result]:
    def outcome(proposal: Proposal) -> Result:
        number = int(proposal.coefficients[0])
        return failing(proposal.coefficients, causes[number % len(causes)]) if number < count else whole(proposal)

    return outcome


def test_more_than_half_failed_stops_the_search_with_the_most_common_cause() -> None:
    searcher = Rounds(Scripted([generation(0, 6), generation(6, 6)]))
    causes = ["out of luck", "no such word", "no such word"]
    started = drive(searcher, order=first_of, outcome=fails_for(5, causes))
    assert started == generation(0, 6), "the second generation is not begun"
    assert searcher.too_many_failed == "5 of 6 candidates failed; most often: no such word"


def test_half_failed_goes_on() -> None:
    searcher = Rounds(Scripted([generation(0, 6), generation(6, 6)]))
    assert len(drive(searcher, order=first_of, outcome=fails_for(3, ["no luck"]))) == 12
    assert searcher.too_many_failed is None


def test_failures_late_in_a_good_run_do_not_stop_it() -> None:
    """The share is that of all candidates: one generation in a bad corner is part of a search."""

    def outcome(proposal: Proposal) -> Result:
        row = proposal.coefficients
        return failing(row, "bad corner") if row[0] >= 6 else evaluated(row)

    searcher = Rounds(Scripted([generation(0, 6), generation(6, 4), generation(20, 1)]))
    assert len(drive(searcher, order=first_of, outcome=outcome)) == 11
    assert searcher.too_many_failed is None


def test_an_error_of_the_run_ends_the_search_and_is_no_failed_candidate() -> None:
    """What ends afterwards changes nothing, and the first error is the one that is said."""
    proposer = Scripted([generation(0, 3), generation(3, 3)])
    rounds = Rounds(proposer)
    assert len(rounds.ask()) == 3
    rounds.abort("the server fails")
    rounds.abort("the server still fails")
    for row in generation(0, 3):
        rounds.tell(evaluated(row))
    assert rounds.ask() == []
    assert rounds.finished
    assert rounds.run_error == "the server fails"
    assert proposer.told == []
    assert rounds.too_many_failed is None


def test_the_proposer_is_told_the_standard_errors_of_known_and_new_candidates() -> None:
    """They are the surrogate's noise; a failed candidate has none."""
    rows = generation(0, 3)
    proposer = Scripted([rows])
    searcher = Rounds(proposer, known_in({rows[0]: evaluation_of(rows[0])}))
    drive(
        searcher, order=first_of, outcome=lambda asked: failing(rows[2]) if asked == Proposal(rows[2]) else whole(asked)
    )
    expected = (LEVELS.std(axis=0, ddof=1) / PROMPTS**0.5).tolist()
    assert proposer.errors == [pytest.approx(expected), pytest.approx(expected), []]


def test_the_proposer_is_told_the_constraints() -> None:
    """Of a known candidate and a new one."""
    proposer, first = Scripted([generation(0, 2)]), generation(0, 1)[0]
    drive(
        Rounds(proposer, lambda asked: limited(first) if asked.coefficients == first else None),
        first_of,
        lambda p: limited(p.coefficients),
    )
    assert [outcome.constraints for outcome in proposer.outcomes] == [(-0.5,), (0.5,)]


def limited(row: Coefficients) -> Result:
    evaluation = replace(evaluation_of(row), metrics={"tokens": row[0] + 0.5})
    return Reader(SETTING.values, {"tokens": Limit(max=1)}).result(Proposal(row), evaluation)


def test_rewards_are_read_by_name_whatever_the_order_they_were_written_in() -> None:
    """A run directory outlives the order of the values in its config."""
    row, other = (
        (0.3, 0.9),
        EvaluationSetting("now", "search", ("p",) * 2, ("brief", "warm"), "org/tiny", ADAPTERS, {}, 0),
    )
    rewards = {"brief": [1.0, 3.0], "warm": [10.0, 10.0]}
    evaluation = succeeded(other, row, [Generation("p", "x", 1, False)] * 2, rewards, 1.0)
    read = READER.result(Proposal(row, (5, 3)), evaluation)
    assert read.outcome == Outcome(row, (10.0, 2.0), (0.0, 1.0), (), {5: (10.0, 1.0), 3: (10.0, 3.0)})
