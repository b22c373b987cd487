"""The searcher between NSGA-II and Ray Tune, called as Tune calls it but without Ray running."""

import random
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from ray.tune.search import Searcher

from mva_ray.errors import CandidateFailure
from mva_ray.evaluation.evaluate import EvaluationSetting, failed, succeeded
from mva_ray.records import Coefficients, Evaluation, Generation, Outcome
from mva_ray.search.ray_search import GenerationalSearcher, scores_of
from tests.surfaces import make

Result = dict[str, Any]
ERRORS = [0.25, 0.5]
ADAPTERS = {"warm": "a", "brief": "b"}
SETTING = EvaluationSetting("now", "search", ("p",), ("warm", "brief"), "org/tiny", ADAPTERS, {}, 0)


class Scripted:
    """A proposer with fixed generations, which keeps what it is told."""

    def __init__(self, generations: Sequence[Sequence[Coefficients]]) -> None:
        self._generations = [list(generation) for generation in generations]
        self.told: list[tuple[list[Coefficients], list[list[float] | None]]] = []
        self.errors: list[list[float]] = []

    def ask(self) -> list[Coefficients]:
        return self._generations.pop(0) if self._generations else []

    def tell(self, outcomes: Sequence[Outcome]) -> None:
        rewards = [None if outcome.rewards is None else list(outcome.rewards) for outcome in outcomes]
        self.told.append(([outcome.coefficients for outcome in outcomes], rewards))
        self.errors += [list(outcome.errors) for outcome in outcomes]


def generation(start: int, size: int) -> list[Coefficients]:
    return [(float(number), 0.5) for number in range(start, start + size)]


def nothing(row: Coefficients) -> Evaluation | None:
    return None


def surface(row: Coefficients) -> list[float]:
    return [-((row[0] - 1) ** 2) - row[1] ** 2 / 2, -((row[1] - 1) ** 2) - row[0] ** 2 / 2]


def evaluation(row: Coefficients) -> Evaluation:
    warm, brief = surface(row)
    return succeeded(SETTING, row, [Generation("p", "x", 1, False)], {"warm": [warm], "brief": [brief]}, 1.0)


def failure(row: Coefficients, cause: str = "no luck") -> Evaluation:
    return failed(SETTING, row, CandidateFailure("reward_raised", cause), 1.0)


def result(row: Coefficients) -> Result:
    return {"scores": (surface(row), ERRORS), "error": None}


def suggestion(searcher: GenerationalSearcher, trial: str) -> dict[str, Any]:
    suggested = searcher.suggest(trial)
    assert isinstance(suggested, dict)
    return suggested


def nsga(known: Callable[[Coefficients], Evaluation | None] = nothing, budget: int = 40) -> GenerationalSearcher:
    return GenerationalSearcher(make("nsga2", [(0, 1.5)] * 2, budget, seed=3), known, size=4)


def drive(
    searcher: GenerationalSearcher,
    order: Callable[[list[str]], str],
    outcome: Callable[[Coefficients], Result | None] = result,
) -> list[Coefficients]:
    """Run trials as Tune does, until FINISHED: as many as are to be had at once, ended in some order."""
    running: dict[str, Coefficients] = {}
    started: list[Coefficients] = []
    while True:
        suggested = searcher.suggest(f"t{len(started)}")
        if suggested == Searcher.FINISHED:
            assert not running
            return started
        if isinstance(suggested, dict):
            running[f"t{len(started)}"] = suggested["coefficients"]
            started.append(suggested["coefficients"])
        else:
            trial = order(list(running))
            ended = outcome(running.pop(trial))
            searcher.on_trial_complete(trial_id=trial, result=ended, error=ended is None)


def test_a_generation_is_handed_out_and_then_waited_for() -> None:
    """None means later to Tune; anything else than None here would propose without the rewards."""
    proposer = Scripted([generation(0, 3), generation(3, 2)])
    searcher = GenerationalSearcher(proposer, nothing, size=8)
    rows = [suggestion(searcher, f"t{i}")["coefficients"] for i in range(3)]
    assert rows == generation(0, 3)
    assert searcher.suggest("t3") is None
    for trial in ("t0", "t2"):
        searcher.on_trial_complete(trial_id=trial, result=result(rows[int(trial[1])]))
        assert searcher.suggest("t3") is None
    assert proposer.told == []
    searcher.on_trial_complete(trial_id="t1", result=result(rows[1]))
    assert suggestion(searcher, "t3")["coefficients"] == (3.0, 0.5)
    assert proposer.told == [(rows, [surface(row) for row in rows])]


def test_the_search_ends_when_the_proposer_has_no_more() -> None:
    proposer = Scripted([generation(0, 2)])
    searcher = GenerationalSearcher(proposer, nothing, size=8)
    assert drive(searcher, order=lambda trials: trials[0]) == generation(0, 2)
    assert searcher.finished
    assert searcher.evaluated == 2
    assert searcher.suggest("later") == Searcher.FINISHED
    assert searcher.too_many_failed is None
    assert len(proposer.told) == 1, "the last generation is told too"


def test_a_search_without_any_candidate_is_finished_at_once() -> None:
    searcher = GenerationalSearcher(Scripted([]), nothing, size=8)
    assert searcher.suggest("t0") == Searcher.FINISHED
    assert searcher.too_many_failed is None


@pytest.mark.parametrize("seed", range(4))
def test_the_order_in_which_trials_end_changes_no_proposal(seed: int) -> None:
    """This is what makes a run on two machines, or a resumed one, the same run."""
    in_order = drive(nsga(), order=lambda trials: trials[0])
    shuffled = drive(nsga(), order=random.Random(seed).choice)
    assert shuffled == in_order
    assert len(in_order) == 40


@pytest.mark.parametrize("done", [0, 1, 3, 8, 13, 39, 40])
def test_known_candidates_are_replayed_without_trials_to_the_same_sequence(done: int) -> None:
    """A killed run goes on where it was; whatever was evaluated is never evaluated again."""
    undisturbed = drive(nsga(), order=lambda trials: trials[0])
    table = {row: evaluation(row) for row in undisturbed[:done]}
    searcher = nsga(table.get)
    assert searcher.replay() == (done < 40)
    assert drive(searcher, order=lambda trials: trials[-1]) == undisturbed[done:]
    assert searcher.evaluated == 40


def test_candidates_known_out_of_order_are_replayed_too() -> None:
    """Killed in the middle of a generation, any part of it may be in the table."""
    undisturbed = drive(nsga(), order=lambda trials: trials[0])
    table = {row: evaluation(row) for row in [undisturbed[9], undisturbed[0], undisturbed[4]]}
    rest = [row for row in undisturbed if row not in table]
    assert drive(nsga(table.get), order=lambda trials: trials[0]) == rest


def test_replaying_again_changes_nothing() -> None:
    """It is called before any actor is started, and by every suggestion."""
    searcher = nsga()
    assert searcher.replay()
    assert searcher.replay()
    assert drive(searcher, order=lambda trials: trials[0]) == drive(nsga(), order=lambda trials: trials[0])


def test_known_failures_are_told_as_failures() -> None:
    first = generation(0, 3)
    table = {first[0]: failure(first[0])}
    proposer = Scripted([first])
    searcher = GenerationalSearcher(proposer, table.get, size=8)
    assert drive(searcher, order=lambda trials: trials[0]) == first[1:]
    assert proposer.told == [(first, [None, surface(first[1]), surface(first[2])])]


def test_groups_fill_up_to_their_size_and_never_mix_generations() -> None:
    """The evaluator waits until a group is complete: a size that is never reached would wait for ever."""
    searcher = GenerationalSearcher(Scripted([generation(0, 5), generation(5, 4)]), nothing, size=2)
    members: dict[int, list[dict[str, Any]]] = {}
    for i in range(9):
        suggested = suggestion(searcher, f"t{i}")
        members.setdefault(suggested["group"], []).append(suggested)
        if i in (4, 8):
            for j in range(0 if i == 4 else 5, i + 1):
                searcher.on_trial_complete(trial_id=f"t{j}", result=result((float(j), 0.5)))
    assert [len(group) for group in members.values()] == [2, 2, 1, 2, 2]
    assert list(members) == [0, 1, 2, 3, 4]
    for group in members.values():
        assert all(member["size"] == len(group) for member in group)


def test_groups_are_made_of_new_candidates_alone() -> None:
    first = generation(0, 5)
    searcher = GenerationalSearcher(Scripted([first]), {first[1]: evaluation(first[1])}.get, size=3)
    suggested = [suggestion(searcher, f"t{i}") for i in range(4)]
    assert [(row["group"], row["size"]) for row in suggested] == [(0, 3), (0, 3), (0, 3), (1, 1)]
    assert [row["coefficients"] for row in suggested] == [first[0], *first[2:]]


def fails_for(count: int, causes: Sequence[str]) -> Callable[[Coefficients], Result]:
    def outcome(row: Coefficients) -> Result:
        number = int(row[0])
        return {"scores": None, "error": causes[number % len(causes)]} if number < count else result(row)

    return outcome


def test_more_than_half_failed_stops_the_search_with_the_most_common_cause() -> None:
    proposer = Scripted([generation(0, 6), generation(6, 6)])
    searcher = GenerationalSearcher(proposer, nothing, size=8)
    causes = ["out of luck", "no such word", "no such word"]
    started = drive(searcher, order=lambda trials: trials[0], outcome=fails_for(5, causes))
    assert started == generation(0, 6), "the second generation is not begun"
    assert searcher.too_many_failed == "5 of 6 candidates failed; most often: no such word"


def test_half_failed_goes_on() -> None:
    searcher = GenerationalSearcher(Scripted([generation(0, 6), generation(6, 6)]), nothing, size=8)
    assert len(drive(searcher, order=lambda trials: trials[0], outcome=fails_for(3, ["no luck"]))) == 12
    assert searcher.too_many_failed is None


def test_failures_late_in_a_good_run_do_not_stop_it() -> None:
    """The share is that of all candidates: one generation in a bad corner is part of a search."""

    def outcome(row: Coefficients) -> Result:
        return {"scores": None, "error": "bad corner"} if row[0] >= 6 else result(row)

    searcher = GenerationalSearcher(Scripted([generation(0, 6), generation(6, 4), generation(0, 1)]), nothing, size=8)
    assert len(drive(searcher, order=lambda trials: trials[0], outcome=outcome)) == 11
    assert searcher.too_many_failed is None


def test_a_trial_that_dies_is_a_failed_candidate() -> None:
    """Tune says so with error=True and no result, after its retries."""
    proposer = Scripted([generation(0, 2)])
    searcher = GenerationalSearcher(proposer, nothing, size=8)
    drive(searcher, order=lambda trials: trials[0], outcome=lambda row: None)
    assert proposer.told == [(generation(0, 2), [None, None])]
    assert searcher.too_many_failed == "2 of 2 candidates failed; most often: the trial itself died"


def test_tune_may_save_and_restore_it(tmp_path: Path) -> None:
    """There is nothing to save: the table is the checkpoint."""
    searcher = GenerationalSearcher(Scripted([generation(0, 2)]), nothing, size=8)
    searcher.save(str(tmp_path / "state"))
    searcher.restore(str(tmp_path / "state"))
    assert suggestion(searcher, "t0")["coefficients"] == (0.0, 0.5)


def test_rewards_come_in_the_order_of_the_values() -> None:
    assert scores_of(evaluation((0.5, 1.0))) == (surface((0.5, 1.0)), [0.0, 0.0])
    assert scores_of(failure((0.5, 1.0))) is None


def test_the_proposer_is_told_the_standard_errors_of_known_and_new_candidates() -> None:
    """They are the surrogate's noise; a failed candidate has none."""
    rows = generation(0, 3)
    proposer = Scripted([rows])
    searcher = GenerationalSearcher(proposer, {rows[0]: evaluation(rows[0])}.get, size=8)
    for trial, scores in (("t0", result(rows[1])), ("t1", {"scores": None, "error": "no luck"})):
        suggestion(searcher, trial)
        searcher.on_trial_complete(trial, scores)
    searcher.replay()
    assert proposer.errors == [[0.0, 0.0], ERRORS, []]
