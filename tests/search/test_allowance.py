"""Budgets: what is handed out always fits, with the front after it, and is a prefix of the undisturbed search."""

import random
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mva_ray.records import NOTHING_SPENT, Coefficients, Proposal, Spent
from mva_ray.run_dir.spending import EVALUATIONS, Prices, Spending
from mva_ray.search.allowance import Allowance, HeldOut
from mva_ray.search.results import Result
from mva_ray.search.rounds import Rounds
from tests.search.test_rounds import PROMPTS, Scripted, evaluated, first_of, generation

HELD_OUT = 10
ALWAYS = [(-1.0, 0.0), (-2.0, 0.0), (-3.0, 0.0)]
Choose = Callable[[Sequence[Proposal]], Proposal]


def cost(answers: int) -> Spent:
    """Each answer takes ten tokens and two seconds of a GPU."""
    return Spent(answers, 10 * answers, 2.0 * answers, 0.0)


class Run:
    """A search under a budget, whose evaluators have reserved a GPU exactly while they answered."""

    def __init__(self, limits: dict[str, float], known: dict[Coefficients, Result], most: int = 4) -> None:
        self.known = known
        self.spent = sum((result.spent for result in known.values()), NOTHING_SPENT)
        self._before = self.spent
        self.evaluated: list[Coefficients] = []
        prices = Prices(gpu_hour=1.8, million_tokens=50)
        allowance = Allowance(limits, lambda: self._spending(prices), PROMPTS, HeldOut(HELD_OUT, ALWAYS), most)
        proposer = Scripted([generation(0, 12), generation(12, 12)])
        self.rounds = Rounds(proposer, lambda each: self._known(each.coefficients), allowance)

    def _spending(self, prices: Prices) -> Spending:
        """The allowance adds answers and tokens of what it was told; seconds are metered."""
        metered = replace(self.spent, answers=self._before.answers, tokens=self._before.tokens)
        return Spending({EVALUATIONS: metered}, prices=prices)

    def _known(self, row: Coefficients) -> Result | None:
        return replace(self.known[row], spent=NOTHING_SPENT) if row in self.known else None

    def drive(self, choose: Choose = first_of) -> None:
        waiting = self.rounds.ask()
        while waiting:
            done = choose(waiting)
            waiting.remove(done)
            spent = cost(PROMPTS)
            result = replace(evaluated(done.coefficients), spent=spent)
            self.known[done.coefficients] = result
            self.evaluated.append(done.coefficients)
            self.spent += spent
            self.rounds.tell(replace(result, spent=replace(spent, gpu_seconds=0.0)))
            waiting += self.rounds.ask()


def test_without_a_budget_that_binds_all_is_evaluated() -> None:
    run = Run({"answers": 10_000, "gpu_hours": 100, "cost": 1000}, {})
    run.drive()
    assert (len(run.evaluated), run.rounds.spent_up, run.rounds.finished) == (24, None, True)


@settings(max_examples=60, deadline=None)
@given(answers=st.integers(0, 900), seed=st.integers(0, 9), most=st.integers(1, 9))
def test_answers_never_go_beyond_the_budget_with_the_held_out_front(answers: int, seed: int, most: int) -> None:
    run = Run({"answers": answers}, {}, most)
    run.drive(random.Random(seed).choice)
    assert sorted(run.evaluated) == generation(0, len(run.evaluated)), "not a prefix of the proposals"
    rows = [result.outcome for result in run.known.values()]
    front = [one for one in rows if not any(dominates(other.rewards, one.rewards) for other in rows)]
    scored = HELD_OUT * len({*ALWAYS, *(one.coefficients for one in front)})
    if run.evaluated:
        assert run.spent.answers + scored <= answers
    assert bool(run.rounds.spent_up) == (len(run.evaluated) < 24)


def dominates(one: Sequence[float] | None, other: Sequence[float] | None) -> bool:
    assert one
    assert other
    return bool(np.all(np.array(one) >= other) and np.any(np.array(one) > other))


@pytest.mark.parametrize(("name", "an_answer"), [("gpu_hours", 2 / 3600), ("cost", 1.8 * 2 / 3600 + 50 * 10 / 1e6)])
def test_hours_and_money_end_the_search_too(name: str, an_answer: float) -> None:
    """At the pace of the answers so far: what is spent with the held-out front is just below the limit."""
    limit = 400 * an_answer
    run = Run({name: limit}, {}, most=1)
    run.drive()
    assert 0 < len(run.evaluated) < 24
    assert run.spent.answers * an_answer <= limit
    assert run.rounds.spent_up is not None
    assert run.rounds.spent_up.startswith(f"the search ends: budget.{name} is used up, ")


@pytest.mark.parametrize("first", [60, 200, 333])
def test_a_larger_budget_goes_on_with_nothing_evaluated_twice(first: int) -> None:
    known: dict[Coefficients, Result] = {}
    begun = Run({"answers": first}, known)
    begun.drive()
    again = Run({"answers": first}, known)
    assert again.rounds.replay()
    assert again.rounds.is_spent_up(), "the same budget has nothing left"
    more = Run({"answers": 100_000}, known)
    more.drive()
    assert begun.evaluated + more.evaluated == generation(0, 24)


def test_what_is_scored_already_costs_nothing_again() -> None:
    """A run that has ended and scored its front goes on with any budget that has room for more."""
    limits = {"answers": float(PROMPTS)}
    asked = [Proposal(generation(0, 1)[0])]
    free = HeldOut(HELD_OUT, ALWAYS, [*ALWAYS, *generation(0, 1)])
    spending = Spending({})
    assert Allowance(limits, lambda: spending, PROMPTS, free, 1).refuses(asked[0], []) is None
    assert Allowance(limits, lambda: spending, PROMPTS, HeldOut(HELD_OUT, ALWAYS), 1).refuses(asked[0], [])


def test_a_candidate_that_is_completed_costs_what_it_lacks() -> None:
    row = generation(0, 1)[0]
    allowance = Allowance({"answers": 100.0}, lambda: Spending({}), PROMPTS, HeldOut(0), 1)
    allowance.tell(evaluated(row))
    assert allowance.refuses(Proposal(row), []) is None
    for _ in range(3):
        assert Allowance({"answers": 100.0}, lambda: Spending({}), PROMPTS, HeldOut(0), 1).refuses(
            Proposal(row), [Proposal(other) for other in generation(1, 4)]
        )
