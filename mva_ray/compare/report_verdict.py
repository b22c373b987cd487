"""What the numbers say, in plain sentences: who wins, by how much, and where the data cannot tell."""

import math

from mva_ray.compare.report_numbers import Difference, MethodNumbers, Numbers
from mva_ray.maths.bootstrap import Interval
from mva_ray.report.points import number

NO_DIFFERENCE = "no difference that this data can show"


def verdict(numbers: Numbers) -> str:
    """One paragraph about the comparison's subject; says so where it has no result."""
    result = numbers.result
    subject = next((method for method in numbers.methods if method.name == result.subject), None)
    if subject is None or math.isnan(subject.hypervolume.estimate):
        return f"There is no result for {result.subject}, so nothing can be said about it."
    sentences = [
        f"On {count(len(result.prompts), 'held-out prompt')} and {count(len(result.seeds), 'seed')}, the fronts of "
        f"{subject.title} fill {ranged(subject.hypervolume)} of the box between reference point and ideal.",
        *(
            _against(subject.title, result.titles[other], found)
            for other, found in subject.differences.items()
            if found.seeds
        ),
        _best(numbers, subject),
        *_yardsticks(numbers),
        *_cost(numbers),
    ]
    if len(result.seeds) == 1:
        sentences.append("With one seed, chance in training is in none of these intervals.")
    return " ".join(sentences)


def ranged(found: Interval) -> str:
    """An estimate with its interval."""
    return f"{number(found.estimate)} ({number(found.low)} to {number(found.high)})"


def count(n: int, what: str) -> str:
    return f"{n} {what}{'' if n == 1 else 's'}"


def _against(subject: str, other: str, found: Difference) -> str:
    seeds = f"ahead with {found.ahead} of {count(found.seeds, 'seed')}"
    if found.interval.holds_zero:
        return f"Against {other} the difference is {ranged(found.interval)}, {seeds}: {NO_DIFFERENCE}."
    wins = found.interval.estimate > 0
    return f"Against {other} the difference is {ranged(found.interval)}, {seeds}: {subject if wins else other} wins."


def _best(numbers: Numbers, subject: MethodNumbers) -> str:
    best = max(_scored(numbers, yardsticks=False), key=lambda method: method.hypervolume.estimate)
    if best is subject:
        return f"No method's estimate is higher than that of {subject.title}."
    return f"The highest estimate is that of {best.title}: {ranged(best.hypervolume)}."


def _yardsticks(numbers: Numbers) -> list[str]:
    """What is had without training anything, where it was measured."""
    found = [f"{one.title} has {ranged(one.hypervolume)}" for one in _scored(numbers, yardsticks=True)]
    return [f"Without training anything, {' and '.join(found)}."] if found else []


def _scored(numbers: Numbers, yardsticks: bool) -> list[MethodNumbers]:
    """The yardsticks, or all other methods, that have a hypervolume."""
    scored = (method for method in numbers.methods if not math.isnan(method.hypervolume.estimate))
    return [method for method in scored if method.yardstick is yardsticks]


def _cost(numbers: Numbers) -> list[str]:
    """What each form of the penalty does to a value's own adapter, where it does something that can be shown."""
    compared = [single for single in numbers.singles if single.difference]
    if not compared:
        return []
    shown = [
        f"{single.value} under {single.penalty} by {ranged(single.difference)}"
        for single in compared
        if single.difference and not single.difference.holds_zero
    ]
    if shown:
        return [f"Against plain DPO, the penalty changes a value's own reward: {'; '.join(shown)}."]
    return [f"On a value's own adapter the penalty makes {NO_DIFFERENCE} from plain DPO."]
