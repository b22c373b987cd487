"""The surrogate: posterior, choice of a batch, and what it finds."""

from collections.abc import Sequence

import numpy as np
import pytest
from threadpoolctl import threadpool_limits

from mva_ray.config.search import Search
from mva_ray.maths.pareto import front_mask
from mva_ray.records import Coefficients, Outcome, Proposal, rounded
from mva_ray.search.acquisition import nadir, non_dominated, pick_batch
from mva_ray.search.gaussian_process import Posterior
from mva_ray.search.ledger import Ledger
from mva_ray.search.proposer import Proposer, make_proposer
from mva_ray.search.references import reference_candidates
from mva_ray.search.results import Result
from mva_ray.search.rounds import Rounds
from mva_ray.search.surrogate import Model
from tests.support.surfaces import flat, make, noisy, outcomes, run, trade_off

BOUNDS = [(0.0, 1.5)] * 2


def test_it_finds_more_of_a_noisy_front_than_sobol_points() -> None:
    def hypervolume(rows: Sequence[Coefficients]) -> float:
        points = np.random.default_rng(1).uniform(-2, 0, (4096, 2))
        return float(np.mean((np.array([trade_off(row) for row in rows])[:, None] >= points).all(2).any(0)))

    found = flat(run(make("surrogate", BOUNDS, 23, 4), noisy(trade_off, 0.02)))
    drawn = flat(run(make("sobol", BOUNDS, 23)))
    assert hypervolume(found) > hypervolume(drawn)


def test_two_batches_may_be_at_work_at_once_after_the_references() -> None:
    """The second reckons with what the first may bring, and so lies elsewhere."""
    search = make("surrogate", BOUNDS, 30, 2, pending=2)
    references = [proposal.coefficients for proposal in search.ask()]
    assert not search.ready
    search.tell(outcomes(references))
    first, second = ([proposal.coefficients for proposal in search.ask()] for _ in range(2))
    assert not search.ready
    closest = min(float(np.hypot(*np.subtract(one, other))) for one in first for other in second)
    assert closest > 0.1
    search.tell(outcomes(first[:1]))
    assert not search.ready, "batches are told whole"
    search.tell(outcomes(first[1:]))
    assert search.ready


PROMPTS, CANDIDATES, ANSWERS = 20, 24, 300


def answered(proposal: Proposal) -> Result:
    """Prompts are hard or easy for all."""
    levels = np.random.default_rng(0).normal(0, 0.2, (PROMPTS, 2))
    places = range(PROMPTS) if proposal.prompts is None else proposal.prompts
    answers = {place: tuple(np.array(trade_off(proposal.coefficients)) + levels[place]) for place in places}
    means = tuple(np.mean([*answers.values()], axis=0))
    return Result(Outcome(proposal.coefficients, means, (0.1, 0.1), (), answers))


def buying(failing: bool = False) -> list[Proposal]:
    """What a search with a budget in answers asks for, in order."""
    settings = Search(candidates=CANDIDATES, answers=ANSWERS)
    rounds = Rounds(make_proposer(settings, BOUNDS, 2, reference_candidates(2, 4), 0, n_prompts=PROMPTS))
    while asked := rounds.ask():
        for proposal in asked:
            fails = failing and proposal.coefficients[0] > 1
            rounds.tell(Result.failed(proposal.coefficients, "boom") if fails else answered(proposal))
    assert rounds.finished
    return rounds.proposals


def test_candidates_answer_some_prompts_and_the_front_answers_all_within_the_budget() -> None:
    """Those with all prompts are known ones and new ones; what is left of the budget would not pay for another."""
    asked = buying()
    first, last = asked[:CANDIDATES], asked[CANDIDATES:]
    assert [len(proposal.prompts or ()) for proposal in first] == [4] * CANDIDATES
    assert {proposal.prompts for proposal in last} == {None}
    partial, whole = ([proposal.coefficients for proposal in part] for part in (first, last))
    assert len(set(whole)) == len(whole)
    completed = set(whole) & set(partial)
    assert 0 < len(completed) < len(whole)
    spent = 4 * CANDIDATES + PROMPTS * len(whole) - 4 * len(completed)
    assert ANSWERS - PROMPTS < spent <= ANSWERS
    rewards = np.array([trade_off(row) for row in whole])
    assert front_mask(rewards).sum() >= len(whole) - 1
    assert asked == buying()


def test_several_batches_are_completed_at_once_but_only_when_all_few_prompts_are_answered() -> None:
    settings = Search(candidates=CANDIDATES, answers=ANSWERS)
    references = reference_candidates(2, 4)
    search = make_proposer(settings, BOUNDS, 2, references, 0, pending=2, n_prompts=PROMPTS)
    batch = search.ask()
    while batch[0].prompts:
        last, batch = batch, [] if not search.ready else search.ask()
        search.tell([answered(proposal).outcome for proposal in last])
        batch = batch or search.ask()
    second = search.ask()
    assert len({proposal.coefficients for proposal in [*batch, *second]}) == 4
    assert not search.ready


def test_a_candidate_that_failed_is_not_completed() -> None:
    asked = buying(failing=True)
    failed = {proposal.coefficients for proposal in asked[:CANDIDATES] if proposal.coefficients[0] > 1}
    completed = {proposal.coefficients for proposal in asked[CANDIDATES:]}
    assert completed
    assert failed
    assert not failed & completed


def test_answers_for_all_prompts_leave_nothing_to_complete() -> None:
    settings = Search(candidates=8, answers=32)
    search = make_proposer(settings, BOUNDS, 2, reference_candidates(2, 2), 0, n_prompts=4)
    assert {len(batch) for batch in run_proposals(search)} == {4}


def run_proposals(search: Proposer) -> list[tuple[int, ...]]:
    """The prompts of each proposal."""
    rounds = Rounds(search)
    while asked := rounds.ask():
        for proposal in asked:
            rounds.tell(answered(proposal))
    return [proposal.prompts or () for proposal in rounds.proposals]


def test_the_number_of_threads_changes_no_proposal() -> None:
    """It changes how sums are rounded: two runs of one seed ended with other candidates once."""
    found = []
    for threads in (1, 2):
        with threadpool_limits(threads):
            found.append(run(make("surrogate", BOUNDS, 13, 2), noisy(trade_off, 0.02)))
    assert found[0] == found[1]


def test_posterior_is_sure_where_it_was_told_exactly_and_shrinks_what_is_noise() -> None:
    rng = np.random.default_rng(0)
    x = rng.uniform(0, 1, (20, 2))
    smooth = np.stack([np.sin(x[:, 0]), x[:, 1] - x[:, 0]], 1)
    means, deviations = Posterior(x, smooth, np.zeros((20, 2))).predict(x)
    assert means == pytest.approx(smooth, abs=0.01)
    assert deviations.max() < 0.01
    noise = rng.normal(size=(20, 2)) * 0.3
    means, _ = Posterior(x, smooth + noise, np.full((20, 2), 0.3)).predict(x)
    assert np.abs(means - smooth).mean() < np.abs(noise).mean()


def test_pick_batch_by_hand() -> None:
    """One known point (1, 1) and no doubt: (3, 3) covers all; once it is picked no other improves anything."""
    known = np.tile([[1.0, 1.0], [0.0, 0.0]], (4, 1, 1))
    pool = np.tile([[0.5, 0.5], [2.0, 2.0], [3.0, 3.0]], (4, 1, 1))
    assert pick_batch(known, pool, np.zeros(2), 3, np.random.default_rng(0)) == [2]


def test_pick_batch_keeps_its_members_apart() -> None:
    """(3, 1) and its near copy promise most, but the second of a batch adds more at the other end."""
    known = np.tile([[0.0, 0.0], [0.5, 0.5]], (4, 1, 1))
    pool = np.tile([[3.0, 1.0], [2.99, 1.0], [0.8, 2.0]], (4, 1, 1))
    assert pick_batch(known, pool, np.zeros(2), 2, np.random.default_rng(0)) == [0, 2]


def test_pick_batch_reckons_with_what_is_pending() -> None:
    """The same as above, with (3, 1) on its way already: neither it nor its copy is picked."""
    known = np.tile([[0.0, 0.0], [0.5, 0.5]], (4, 1, 1))
    pool = np.tile([[3.0, 1.0], [2.99, 1.0], [0.8, 2.0]], (4, 1, 1))
    assert pick_batch(known, pool, np.zeros(2), 1, np.random.default_rng(0), pending=1) == [2]


def test_pick_batch_of_three_values_takes_the_share_of_draws_into_account() -> None:
    """A candidate that is twice as good in one draw of four promises less than one that is sure."""
    known = np.zeros((4, 1, 3))
    sure, rare = np.full((4, 3), 1.0), np.zeros((4, 3))
    rare[0] = 1.2
    assert pick_batch(known, np.stack([rare, sure], 1), np.zeros(3), 1, np.random.default_rng(0)) == [1]


def test_pick_batch_takes_an_infeasible_candidate_for_nothing() -> None:
    """Best in the draws where it is feasible, three of four here; and no candidate where none of them is."""
    known = np.tile([[1.0, 1.0]], (4, 1, 1))
    pool = np.tile([[3.0, 3.0], [2.5, 2.5]], (4, 1, 1))
    pool[:3, 0] = -np.inf
    assert pick_batch(known, pool, np.zeros(2), 1, np.random.default_rng(0)) == [1]
    assert pick_batch(known[:, :0], np.full_like(pool, -np.inf), np.zeros(2), 1, np.random.default_rng(0)) == []


def test_non_dominated_is_the_front_with_ties_and_copies() -> None:
    rng = np.random.default_rng(0)
    for n_values in (2, 3, 5):
        rewards = rng.integers(0, 4, (60, n_values)).astype(float)
        assert non_dominated(rewards).tolist() == front_mask(rewards).tolist()


def test_nadir_by_hand() -> None:
    """The front is (0, 10) and (4, 2); (-9, 5) and the broken (-90, -90) do not count."""
    rewards = np.array([[0.0, 10.0], [4.0, 2.0], [-9.0, 5.0], [-90.0, -90.0]])
    assert nadir(rewards) == pytest.approx([-0.4, 1.2])
    assert nadir(np.array([[1.0, 2.0]])) == pytest.approx([1.0, 2.0])


def test_the_box_reaches_below_ends_of_the_front_that_were_not_found() -> None:
    """Told are middles of a front that is a plane: what the pool's ends bring counts, or they would never be found."""
    rewards = np.eye(3) - 0.5 * (1 - np.eye(3))
    told, ends = np.random.default_rng(0).uniform(0.2, 0.8, (20, 3)), [rounded(row) for row in 1 - np.eye(3)]
    ledger = Ledger([], 0)
    ledger.tell([Outcome(rounded(row), tuple(row @ rewards), (1e-3,) * 3) for row in told])
    assert (Model(ledger).nadir(ends) < nadir(told @ rewards) - 0.1).all()


def test_gains_of_a_few_ten_thousandths_of_the_box_are_told_apart() -> None:
    """Late in a search nearly all of the box is dominated, and the candidates differ in the rest."""
    known, pool = np.ones((1, 1, 2)), np.array([[[0.5, 1.0001], [0.5, 1.0008], [1.0001, 0.5]]])
    for seed in range(20):
        assert pick_batch(known, pool, np.zeros(2), 1, np.random.default_rng(seed)) == [1]


def test_noise_that_is_not_known_is_fitted() -> None:
    rng = np.random.default_rng(0)
    x = rng.uniform(0, 1, (40, 2))
    smooth = x[:, :1] - x[:, 1:]
    means, _ = Posterior(x, smooth + 0.2 * rng.normal(size=(40, 1)), None).predict(x)
    assert np.abs(means - smooth).mean() < 0.1


def test_draws_agree_with_the_prediction_and_are_joint() -> None:
    x = np.random.default_rng(0).uniform(0, 1, (6, 2))
    posterior = Posterior(x, np.stack([x[:, 0], x[:, 1] ** 2], 1), np.full((6, 2), 0.05))
    twins = np.array([[0.9, 0.1], [0.9001, 0.1], [0.1, 0.9]])
    means, deviations = posterior.predict(twins)
    drawn = posterior.sample(twins, 4000, np.random.default_rng(1))
    assert drawn.mean(axis=0) == pytest.approx(means, abs=0.01)
    assert drawn.std(axis=0) == pytest.approx(deviations, rel=0.1)
    assert np.corrcoef(drawn[:, 0, 0], drawn[:, 1, 0])[0, 1] > 0.99
