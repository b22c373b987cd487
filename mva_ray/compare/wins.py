"""Win rates between methods: each puts forward the candidate that a user with certain preference weights would get."""

from collections.abc import Mapping, Sequence
from itertools import combinations
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mva_ray.compare.judge import Judge, Match, Verdict
from mva_ray.compare.results import Candidate, ComparisonResult, JudgedPair, JudgeResult
from mva_ray.config.compare import JudgeSettings
from mva_ray.maths.pareto import augmented_chebyshev

Chosen = dict[tuple[str, int], Candidate]
"""The candidate of each method (name) and seed."""
Utilities = dict[tuple[str, int], NDArray[np.float64]]
"""[prompts] of each method (name) and seed, higher is better."""


def choose(result: ComparisonResult, preference: Mapping[str, float]) -> Chosen:
    """The best candidate of every run by the augmented Chebyshev score, as `mva-ray pareto --prefer` chooses.

    The scores' scale is that of all candidates of all methods and seeds together. They are chosen on the search
    split where every candidate has been scored there, else on the held-out one.
    """
    runs = [run for run in result.methods if run.candidates]
    every = [candidate for run in runs for candidate in run.candidates]
    searched = all(set(candidate.search_means) == set(result.values) for candidate in every)
    means = [candidate.search_means if searched else held_out_means(candidate) for candidate in every]
    table = np.array([[row[value] for value in result.values] for row in means]).reshape(-1, len(result.values))
    scores = iter(augmented_chebyshev(table, [preference.get(value, 0.0) for value in result.values]))
    best = {}
    for run in runs:
        own = [next(scores) for _ in run.candidates]
        best[run.name, run.seed] = run.candidates[int(np.argmax(own))]
    return best


def held_out_means(candidate: Candidate) -> dict[str, float]:
    return {value: float(np.mean(rewards)) for value, rewards in candidate.rewards.items()}


def reward_wins(result: ComparisonResult, preference: Mapping[str, float]) -> NDArray[np.float64]:
    """The share of prompts on which the row's chosen candidate has the higher preference-weighted reward.

    Rewards are divided by their standard deviation over all methods' chosen candidates and prompts. Ties count half.

    Returns:
        [methods, methods] in the order of `result.titles`, the mean over the seeds that both have; NaN on the
        diagonal and where they share none. M[i, j] + M[j, i] = 1.
    """
    found, names = utilities(result, preference), list(result.titles)
    wins = np.full((len(names), len(names)), np.nan)
    for (i, first), (j, second) in combinations(enumerate(names), 2):
        won = [prompts_won(found, first, second, seed) for seed in result.seeds]
        shares = [prompts.mean() for prompts in won if prompts is not None]
        if shares:
            wins[i, j] = np.mean(shares)
            wins[j, i] = 1 - wins[i, j]
    return wins


def prompts_won(found: Utilities, first: str, second: str, seed: int) -> NDArray[np.float64] | None:
    """[prompts] 1 where the first method's answer is better, 0.5 for a tie, else 0; None where one has no candidate."""
    if (first, seed) not in found or (second, seed) not in found:
        return None
    one, other = found[first, seed], found[second, seed]
    return np.where(np.isclose(one, other, rtol=1e-9, atol=1e-12), 0.5, one > other)


def judge_methods(
    result: ComparisonResult,
    preference: Mapping[str, float],
    settings: JudgeSettings,
    cache: Path | str,
    descriptions: Mapping[str, str] | None = None,
) -> JudgeResult:
    """Ask a judge about every pair of methods, seed by seed, on all held-out prompts.

    Args:
        result: its candidates need completions.
        preference: what an answer is judged by, and the candidates are chosen for.
        settings: the judge.
        cache: the path or URL for its answers.
        descriptions: a value's name and what it means; the name alone where it is missing.

    Raises:
        ConfigError: where the judge's key is missing.
        RunError: where the judge's endpoint fails.
    """
    chosen = {run: candidate for run, candidate in choose(result, preference).items() if candidate.completions}
    rounds = [
        (first, second, seed)
        for seed in result.seeds
        for first, second in combinations(result.titles, 2)
        if (first, seed) in chosen and (second, seed) in chosen
    ]
    matches = [
        Match(*texts)
        for first, second, seed in rounds
        for texts in zip(result.prompts, chosen[first, seed].completions, chosen[second, seed].completions, strict=True)
    ]
    with Judge(settings, criteria(preference, descriptions or {}), cache) as judge:
        verdicts = judge.verdicts(matches)
    n = len(result.prompts)
    pairs = [_count(*one, verdicts[n * index : n * (index + 1)]) for index, one in enumerate(rounds)]
    return JudgeResult(model=settings.model, preference=dict(preference), pairs=pairs)


def judged_wins(result: ComparisonResult) -> NDArray[np.float64]:
    """As `reward_wins`, by the judge: wins plus half the ties, over the answers that are there; NaN where none is."""
    names = list(result.titles)
    won, asked = np.zeros((len(names), len(names))), np.zeros((len(names), len(names)))
    for pair in result.judge.pairs if result.judge else []:
        i, j = names.index(pair.first), names.index(pair.second)
        won[i, j] += pair.first_wins + pair.ties / 2
        won[j, i] += pair.second_wins + pair.ties / 2
        asked[[i, j], [j, i]] += pair.first_wins + pair.second_wins + pair.ties
    with np.errstate(invalid="ignore"):
        shares: NDArray[np.float64] = won / asked
    return shares


def criteria(preference: Mapping[str, float], descriptions: Mapping[str, str]) -> str:
    """The preference weights as a sentence for the judge, the heaviest first."""
    total = sum(preference.values())
    wanted = sorted((item for item in preference.items() if item[1] > 0), key=lambda item: -item[1])
    parts = [f"{descriptions.get(value, value)} (weight {100 * weight / total:.0f} %)" for value, weight in wanted]
    return f"an answer should be {', and '.join(parts)}."


def utilities(result: ComparisonResult, preference: Mapping[str, float]) -> Utilities:
    """The preference-weighted rewards of every run's chosen candidate, in standard deviations of all of them."""
    chosen, values = choose(result, preference), result.values
    tables = {run: np.array([candidate.rewards[value] for value in values]) for run, candidate in chosen.items()}
    spread = np.concatenate(list(tables.values()), axis=1).std(axis=1) if tables else np.ones(len(values))
    weights = np.array([preference.get(value, 0.0) for value in values]) / np.where(spread == 0, 1.0, spread)
    return {run: weights @ table for run, table in tables.items()}


def _count(first: str, second: str, seed: int, verdicts: Sequence[Verdict]) -> JudgedPair:
    winners = [verdict.winner for verdict in verdicts]
    return JudgedPair(
        first=first,
        second=second,
        seed=seed,
        first_wins=winners.count("first"),
        second_wins=winners.count("second"),
        ties=winners.count("tie"),
        contradictions=sum(verdict.contradictory for verdict in verdicts),
        missing=winners.count(None),
    )
