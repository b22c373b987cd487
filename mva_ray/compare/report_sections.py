"""The report as sections of text, figures and tables, which the page and the markdown show alike."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import permutations

import numpy as np

from mva_ray.compare import report_plots as plots
from mva_ray.compare.report_numbers import AIR, RESAMPLES, AtEqual, Floats, Numbers, cautions, cut_off
from mva_ray.compare.report_verdict import ranged, verdict
from mva_ray.compare.results import NO_PENALTY, AdapterInterference, Candidate
from mva_ray.maths.bootstrap import LEVEL, Interval
from mva_ray.report.points import number

ANSWERS = 3
"""Prompts whose answers are shown."""


@dataclass(frozen=True)
class Table:
    """`shades`, from 0 to 1, tint the cells after the first of each row on the page; None leaves one as it is."""

    header: list[str]
    rows: list[list[str]]
    shades: list[list[float | None]] | None = None
    caption: str = ""


@dataclass(frozen=True)
class Picture:
    name: str
    caption: str
    png: bytes


@dataclass(frozen=True)
class Section:
    title: str
    text: list[str]
    pictures: list[Picture] = field(default_factory=list)
    tables: list[Table] = field(default_factory=list)


def sections(numbers: Numbers) -> list[Section]:
    """The whole report in its order; what was not measured is left out."""
    parts: list[tuple[bool, Callable[[Numbers], Section]]] = [
        (True, lambda all_of_it: Section("Verdict", [verdict(all_of_it), *cautions(all_of_it.result)])),
        (bool(numbers.methods), _fronts),
        (bool(numbers.methods and numbers.at_equal), _at_equal),
        (len(numbers.methods) > 1, _wins),
        (bool(numbers.answering), _answers),
        (numbers.judged is not None, _judged),
        (bool(numbers.methods), _hypervolumes),
        (len(numbers.methods) > 1, _coverage),
        (bool(numbers.result.interference), _interference),
        (bool(numbers.result.singles), _singles),
        (bool(numbers.result.alphas), _alphas),
        (any(method.failures for method in numbers.methods), _failures),
        (True, _ways),
    ]
    return [part(numbers) for there, part in parts if there]


def _fronts(numbers: Numbers) -> Section:
    two = len(numbers.result.values) == 2
    captions = {
        "fronts": "Each line is what a method's front attains on average over the seeds, the band what the worst and "
        "the best of them attain; the points are the fronts of the single seeds."
        if two
        else "The points on each method's front, all seeds, with one standard error over prompts.",
        "fronts_by_method": "Every candidate with one standard error over prompts, and each seed's front.",
    }
    pictures = [Picture(name, captions[name], png) for name, png in plots.front_figures(numbers).items()]
    rows = [[method.title, method.description] for method in numbers.methods]
    text = "Mean rewards on the held-out prompts, which neither training nor search has seen; higher is better."
    return Section("Fronts on held-out prompts", [text], pictures, [Table(["method", "what it is"], rows)])


def _at_equal(numbers: Numbers) -> Section:
    result = numbers.result
    above = (
        f"what that is above {result.titles[numbers.baseline]}, paired by seed and prompt" if numbers.baseline else ""
    )
    text = (
        "The most that a method gives of one value where the other is at least so much: by one model of its front, or "
        "by drawing between two of them for each answer; mean over the seeds"
        + (f", and in brackets {above}" if above else "")
        + f". With {100 * LEVEL:.0f} % intervals. The levels are quarters of the range of all methods."
    )

    def third(*pair: str) -> str:
        return "".join(f", whatever {value} is" for value in result.values if value not in pair)

    tables = [
        Table(
            ["method", *(f"{found.given} ≥ {number(found.level)}" for found in of_value)],
            [
                [title, *(_given(found, name, len(result.seeds)) for found in of_value)]
                for name, title in result.titles.items()
            ],
            caption=f"{wanted}, at equal {given}" + third(given, wanted),
        )
        for given, wanted in permutations(result.values, 2)
        if (of_value := [found for found in numbers.at_equal if (found.given, found.wanted) == (given, wanted)])
    ]
    return Section("One value at an equal other", [text], tables=tables)


def _given(found: AtEqual, name: str, seeds: int) -> str:
    if name not in found.most:
        return f"not reached ({found.reached[name]} of {seeds} seeds)" if found.reached[name] else "not reached"
    difference = f" [{ranged(found.differences[name])}]" if name in found.differences else ""
    return f"{ranged(found.most[name])}{difference}"


def _hypervolumes(numbers: Numbers) -> Section:
    result, box = numbers.result, numbers.box
    baselines = [name for name in result.baselines if name in result.titles]
    header = ["method", "hypervolume", *(f"minus {result.titles[name]}" for name in baselines)]
    rows = []
    for method in numbers.methods:
        found = [method.differences.get(name) for name in baselines]
        differences = [f"{ranged(one.interval)}, ahead {one.ahead}/{one.seeds}" if one else "–" for one in found]
        effort = [
            number(method.inner_product),
            number(method.spacing),
            str(method.candidates),
            f"{method.front:.1f}",
            str(method.evaluations),
            f"{method.training_seconds / 60:.1f}",
        ]
        rows.append([method.title, ranged(method.hypervolume), *differences, *effort])
    origin = (
        f"fixed by the config, so that comparisons can be set side by side; {numbers.outside} candidates lie outside"
        if result.box
        else "from the worst to the best mean of any method, seed or the base model, plus "
        f"{100 * AIR:.0f} % of that range below"
    )
    text = (
        "The share of the box from the reference point to the ideal that a front dominates, mean over the seeds, with "
        f"its {100 * LEVEL:.0f} % interval. The box is the same for all: {origin}. Differences are paired by seed "
        "and prompt; an interval that holds 0 shows no difference. The intervals are not corrected for the number of "
        "comparisons, and a front of more candidates has more luck in noise: compare the counts. MIP is the highest "
        "inner product of preference weights and rewards on the front, mean over an even lattice of preferences, since "
        "one chooses from it (Panacea, arXiv 2402.02030, takes that of the model made for each): higher is better. "
        "Spacing is the deviation of the distances to the nearest neighbour (Schott 1995): lower is more even. Both "
        "are in shares of the box and have no interval."
    )
    corners = [
        [value, number(low), number(high)] for value, low, high in zip(result.values, box.low, box.high, strict=True)
    ]
    picture = Picture(
        "hypervolume", "Hypervolume with intervals; small dots are the seeds.", plots.hypervolume_figure(numbers)
    )
    counts = ["MIP", "spacing", "candidates (all seeds)", "on the front (a seed)", "evaluations", "training (minutes)"]
    tables = [Table([*header, *counts], rows), Table(["value", "reference point", "ideal"], corners)]
    return Section("Hypervolume", [text], [picture], tables)


def _coverage(numbers: Numbers) -> Section:
    text = (
        "The share of the column's front that some candidate of the row's front equals or dominates, mean over the "
        "seeds (Zitzler & Thiele 1999). A row with high numbers beats the columns."
    )
    return Section("Coverage", [text], tables=[_matrix(numbers, numbers.coverage)])


def _wins(numbers: Numbers) -> Section:
    text = (
        "Each method puts forward the candidate that a user with these preference weights would get (augmented "
        "Chebyshev score). The share of prompts on which the row's answer has the higher preference-weighted reward "
        "(rewards in standard deviations), ties half, mean over the seeds. Against one method with "
        f"{100 * LEVEL:.0f} % intervals, in which the choice of the candidates stays as it is."
    )
    titles = numbers.result.titles
    tables = [_matrix(numbers, numbers.wins, _weights(numbers.preferences[0]))]
    if numbers.baseline:
        header = ["method", *map(_weights, numbers.preferences)]
        rows = [
            [titles[name], *(_share(wins[name]) for wins in numbers.wins_over_baseline)]
            for name in numbers.wins_over_baseline[0]
        ]
        tables.insert(0, Table(header, rows, caption=f"against {titles[numbers.baseline]}"))
    return Section("Win rate by rewards", [text], tables=tables)


def _share(found: Interval) -> str:
    return "–" if np.isnan(found.estimate) else ranged(found)


def _answers(numbers: Numbers) -> Section:
    result = numbers.result
    text = (
        f"What a user with {_weights(numbers.preferences[0])} would read, of seed {result.seeds[0]}: the first of the "
        "held-out prompts, with the rewards of each answer."
    )
    header = ["prompt", *(result.titles[name] for name, _ in numbers.answering)]
    rows = [
        [result.prompts[place], *(_answer(candidate, result.values, place) for _, candidate in numbers.answering)]
        for place in range(min(ANSWERS, len(result.prompts)))
    ]
    return Section("Answers side by side", [text], tables=[Table(header, rows)])


def _answer(candidate: Candidate, values: Sequence[str], place: int) -> str:
    rewards = ", ".join(f"{value} {number(candidate.rewards[value][place])}" for value in values)
    return f"{candidate.completions[place]} ({rewards})"


def _judged(numbers: Numbers) -> Section:
    judge, wins = numbers.result.judge, numbers.judged
    assert judge is not None
    assert wins is not None
    asked = sum(pair.first_wins + pair.second_wins + pair.ties for pair in judge.pairs)
    contradictions, missing = (
        sum(getattr(pair, what) for pair in judge.pairs) for what in ("contradictions", "missing")
    )
    text = (
        f"The same candidates, judged by {judge.model}, asked in both orders; an answer wins where it wins in both. "
        f"Of {asked} comparisons {sum(pair.ties for pair in judge.pairs)} were ties, {contradictions} of them because "
        f"the same position won twice. Left out, for want of a usable answer: {missing}."
    )
    return Section("Win rate by a judge", [text], tables=[_matrix(numbers, wins, _weights(judge.preference))])


def _interference(numbers: Numbers) -> Section:
    results = numbers.result.interference
    titles = penalty_titles([result.penalty for result in results])
    groups = dict.fromkeys((result.penalty, result.first, result.second) for result in results)
    rows = [[titles[group[0]], f"{group[1]}, {group[2]}", *_shared(results, group)] for group in groups]
    text = (
        "What two values' adapters share, module by module: the cosine of their deltas, and the debiased linear CKA of "
        "the deltas with output neurons as samples. Both are 0 for independent deltas and 1 for equal ones, whatever "
        "their scale and LoRA basis."
    )
    picture = Picture(
        "interference",
        "Cosine and CKA by module type and layer, means over the seeds, one colour scale for all.",
        plots.interference_figure(results, titles),
    )
    header = ["penalty", "adapters", "mean cosine", "mean |cosine|", "mean CKA"]
    return Section("Interference of the adapters", [text], [picture], [Table(header, rows)])


def _shared(results: Sequence[AdapterInterference], group: tuple[str, str, str]) -> list[str]:
    modules = [module for one in results if (one.penalty, one.first, one.second) == group for module in one.modules]
    cosines, ckas = (np.array([getattr(module, name) for module in modules]) for name in ("cosine", "cka"))
    return [number(float(one)) for one in (cosines.mean(), np.abs(cosines).mean(), ckas.mean())]


def _singles(numbers: Numbers) -> Section:
    titles = penalty_titles([single.penalty for single in numbers.singles])
    rows = [
        [
            titles[single.penalty],
            single.value,
            ranged(single.reward),
            ranged(single.difference) if single.difference else "–",
        ]
        for single in numbers.singles
    ]
    text = "Each value's adapter alone, on its own value: what decorrelation costs. Differences are paired."
    header = ["penalty", "value", "mean reward", "minus plain DPO"]
    return Section("Single values against plain DPO", [text], tables=[Table(header, rows)])


def _alphas(numbers: Numbers) -> Section:
    titles = penalty_titles([row.penalty for row in numbers.alphas])
    values = numbers.result.values
    rows = [
        [
            titles[row.penalty],
            f"{row.alpha:g}",
            number(row.cosine),
            number(row.cka),
            *(ranged(row.own[value]) for value in values),
            ranged(row.hypervolume) if row.hypervolume else "–",
        ]
        for row in numbers.alphas
    ]
    header = ["penalty", "alpha", "cosine", "CKA", *(f"{value} (own adapter)" for value in values), "hypervolume"]
    text = "The weight of the penalty against what the adapters share, their own rewards, and the front."
    picture = Picture("alpha", "Sensitivity to alpha, with intervals.", plots.alpha_figure(numbers, titles))
    return Section("Sensitivity to alpha", [text], [picture], [Table(header, rows)])


def _failures(numbers: Numbers) -> Section:
    rows = [[method.title, failure] for method in numbers.methods for failure in method.failures]
    return Section("Failures", ["Candidates without a result."], tables=[Table(["method", "failure"], rows)])


def _ways(numbers: Numbers) -> Section:
    result = numbers.result
    text = [
        f"Intervals: {RESAMPLES} bootstrap resamples of seeds and prompts, crossed (every seed answers the same "
        "prompts) and the same for all methods; basic intervals, widened by the root of n / (n - 1) for n seeds. With "
        "few seeds they know the spread of training only roughly.",
        f"Held-out prompts: {len(result.prompts)}, hash {result.prompts_hash}. "
        f"Seeds: {', '.join(map(str, result.seeds))}. Base model: {result.base_model}.",
        *_what_can_be_told(numbers),
    ]
    return Section("How this was measured", text)


def _what_can_be_told(numbers: Numbers) -> list[str]:
    """Whether answers are whole and the values more than one trade-off: else no method can win."""
    share = cut_off(numbers.result)
    lines = [] if share is None else [f"The token limit ended {share:.0%} of the held-out answers of all candidates."]
    if numbers.predicted:
        found = ", ".join(f"{value} {number(of_value)}" for value, of_value in numbers.predicted.items())
        lines.append(
            f"How well a value is predicted from the others over all candidates (R² of leave-one-out): {found}. Near 1 "
            "there is one trade-off, and hypervolume says how far it was followed."
        )
    if numbers.reliabilities:
        found = ", ".join(f"{value} {number(of_value)}" for value, of_value in numbers.reliabilities.items())
        lines.append(
            "How much of the differences between all candidates' means is more than the luck of the prompts "
            f"(reliability, Hoyt 1941): {found}."
        )
    return lines


def _matrix(numbers: Numbers, table: Floats, caption: str = "") -> Table:
    titles = list(numbers.result.titles.values())
    cells = [["" if np.isnan(one) else f"{100 * one:.0f} %" for one in row] for row in table]
    rows = [[title, *row] for title, row in zip(titles, cells, strict=True)]
    shades = [[None if np.isnan(one) else float(one) for one in row] for row in table]
    return Table(["", *titles], rows, shades, caption)


def _weights(preference: dict[str, float]) -> str:
    return "preference weights " + ", ".join(f"{value} {weight:.3g}" for value, weight in preference.items())


def penalty_titles(penalties: Sequence[str]) -> dict[str, str]:
    """What people read for each form of the penalty."""
    return {penalty: "no penalty (plain DPO)" if penalty == NO_PENALTY else penalty for penalty in penalties}
