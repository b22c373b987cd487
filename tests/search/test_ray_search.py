"""The loop as Tune sees it: places, trials that die. Called as Tune calls it but without Ray running."""

import random
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from ray.tune.search import Searcher

from mva_ray.records import Coefficients, Proposal, in_order
from mva_ray.search.ray_searcher import RoundsSearcher
from mva_ray.search.rounds import Rounds
from tests.search import test_rounds
from tests.search.test_rounds import READER, Scripted, evaluation_of, first_of, generation, nsga, surface

Result = dict[str, Any]


def reported(row: Coefficients) -> Result:
    """What a trial reports of a candidate."""
    evaluation = evaluation_of(row)
    rewards = [in_order(scored.rewards, READER.values) for scored in evaluation.generations]
    return {"evaluation": replace(evaluation, generations=()), "rewards": rewards}


class Queue:
    """A searcher, and what it hands out."""

    def __init__(self, rounds: Rounds) -> None:
        self.proposals: list[Proposal | None] = []
        self.complete = False
        self.searcher = RoundsSearcher(rounds, READER, self.extend)

    def extend(self, proposals: Sequence[Proposal | None], complete: bool) -> None:
        assert not (self.complete and proposals), "nothing comes after the last"
        self.proposals += proposals
        self.complete = complete

    @property
    def rows(self) -> list[Coefficients]:
        return [proposal.coefficients for proposal in self.proposals if proposal]


def drive(
    queue: Queue,
    order: Callable[[list[str]], str],
    concurrency: int = 6,
) -> list[Coefficients]:
    """Run trials as Tune does, until FINISHED: so many at once, of which those with a candidate end in some order."""
    running: dict[str, int] = {}
    places = 0

    def end_one() -> None:
        trial = order([trial for trial, place in running.items() if place < len(queue.proposals)])
        proposal = queue.proposals[running.pop(trial)]
        assert proposal
        queue.searcher.on_trial_complete(trial_id=trial, result=reported(proposal.coefficients))

    while (suggested := queue.searcher.suggest(f"t{places}")) != Searcher.FINISHED:
        assert isinstance(suggested, dict)
        running[f"t{places}"] = suggested["place"]
        places += 1
        if len(running) == concurrency:
            end_one()
    assert queue.complete
    while min(running.values(), default=len(queue.proposals)) < len(queue.proposals):
        end_one()
    for trial, place in running.items():
        queue.searcher.on_trial_complete(trial_id=trial, result={"place": place})
    return queue.rows


def test_a_generation_is_handed_out_and_then_waited_for() -> None:
    """Trials may wait at places of the next generation; anything handed out there now would ignore the rewards."""
    proposer = Scripted([generation(0, 3), generation(3, 2)])
    queue = Queue(Rounds(proposer))
    assert [queue.searcher.suggest(f"t{place}") for place in range(5)] == [{"place": place} for place in range(5)]
    assert queue.rows == generation(0, 3)
    for place in (0, 2):
        queue.searcher.on_trial_complete(trial_id=f"t{place}", result=reported(queue.rows[place]))
    assert queue.rows == generation(0, 3)
    assert proposer.told == []
    queue.searcher.on_trial_complete(trial_id="t1", result=reported(queue.rows[1]))
    assert queue.rows == generation(0, 5)
    assert [row for row, _ in zip(*proposer.told[0], strict=True)] == generation(0, 3)
    assert proposer.told[0][1] == [pytest.approx(surface(row)) for row in generation(0, 3)]


@pytest.mark.parametrize("concurrency", [2, 20])
def test_trials_evaluate_what_the_loop_alone_would(concurrency: int) -> None:
    rounds = nsga()
    asked = drive(Queue(rounds), random.Random(0).choice, concurrency=concurrency)
    assert asked == test_rounds.drive(nsga(), first_of)
    assert len(asked) == rounds.evaluated == 40


def test_a_search_without_any_candidate_is_finished_at_once() -> None:
    queue = Queue(Rounds(Scripted([])))
    assert queue.complete
    assert queue.searcher.suggest("later") == Searcher.FINISHED


def test_a_trial_that_dies_again_and_again_ends_the_run_and_is_no_failed_candidate() -> None:
    """Tune says so with error=True, after its retries. The broker evaluates the candidate all the same, so that a
    proposer that is told of a failure here would go another way than one that reads the table after a restart."""
    proposer = Scripted([generation(0, 2)])
    rounds = Rounds(proposer)
    queue = Queue(rounds)
    queue.searcher.suggest("t0")
    queue.searcher.on_trial_complete("t0", None, error=True)
    assert proposer.told == []
    assert str(rounds.run_error).startswith("a trial of the search failed three times")
    assert queue.complete
    assert queue.searcher.suggest("t1") == Searcher.FINISHED


def test_a_trial_that_dies_while_it_waits_costs_no_candidate() -> None:
    """Nobody asks for its place any more: a candidate that was put there would be waited for, for ever."""
    rounds = Rounds(Scripted([generation(0, 1), generation(1, 2)]))
    queue = Queue(rounds)
    for place in range(4):
        queue.searcher.suggest(f"t{place}")
    queue.searcher.on_trial_complete("t1", None, error=True)
    queue.searcher.on_trial_complete("t0", reported((0.0, 0.5)))
    assert [proposal and proposal.coefficients for proposal in queue.proposals] == [
        (0.0, 0.5),
        None,
        (1.0, 0.5),
        (2.0, 0.5),
    ]
    for place in (2, 3):
        queue.searcher.on_trial_complete(f"t{place}", reported(queue.rows[place - 1]))
    assert queue.complete
    assert rounds.evaluated == 3


def test_an_error_of_the_run_ends_the_search_and_is_no_failed_candidate() -> None:
    """Trials that wait are let go, those that end afterwards change nothing."""
    proposer = Scripted([generation(0, 3), generation(3, 3)])
    rounds = Rounds(proposer)
    queue = Queue(rounds)
    for trial in ("a", "b", "c", "d"):
        queue.searcher.suggest(trial)
    queue.searcher.on_trial_complete("a", {"done": True, "place": 0, "run_error": "the server fails"})
    assert queue.complete
    queue.searcher.on_trial_complete("b", {"done": True, "place": 1, "run_error": "the server still fails"})
    queue.searcher.on_trial_complete("c", reported((2.0, 0.5)))
    queue.searcher.on_trial_complete("d", {"done": True, "place": 3})
    assert rounds.run_error == "the server fails"
    assert queue.searcher.suggest("e") == Searcher.FINISHED
    assert proposer.told == []


def test_tune_may_save_and_restore_it(tmp_path: Path) -> None:
    """There is nothing to save: the table is the checkpoint."""
    queue = Queue(Rounds(Scripted([generation(0, 2)])))
    queue.searcher.save(str(tmp_path / "state"))
    queue.searcher.restore(str(tmp_path / "state"))
    assert queue.rows == generation(0, 2)
