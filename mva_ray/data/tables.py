"""What is known about prompts and pairs, as tables for a terminal of 80 columns."""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray
from rich import box
from rich.table import Table

from mva_ray.data.conflict import conflicts, shared_prompts
from mva_ray.data.files import reasons_of
from mva_ray.data.source import PairData
from mva_ray.records import PreferencePair

Pairs = Mapping[str, Sequence[PreferencePair]]


def pair_table(data: Mapping[str, PairData]) -> Table:
    """Rows and what became of them; a tie is a prompt of rated responses that gave no pair."""
    table = _table("Pairs", "value", "format", numbers=("rows", "pairs", "bad rows", "ties", "unrated"))
    for value, of_value in data.items():
        counts = (of_value.rows, len(of_value.pairs), len(of_value.rejected), of_value.ties, of_value.unrated)
        table.add_row(value, of_value.format, *map(_count, counts))
    return table


def bad_row_table(data: Mapping[str, PairData]) -> Table:
    """The bad rows of each kind, with the place of the first."""
    table = _table("Bad rows", "value", "what is wrong", numbers=("rows", "first"))
    for value, of_value in data.items():
        for reason, count in reasons_of(of_value.rejected).most_common():
            first = next(row.place for row in of_value.rejected if row.reason == reason)
            table.add_row(value, reason, _count(count), first)
    return table


def length_table(lengths: Mapping[str, NDArray[np.int64]], max_length: int) -> Table:
    """Tokens of prompts and of answers, and the pairs that are too long for training.

    Args:
        lengths: [pairs, 3] per value: tokens of prompt, chosen and rejected.
        max_length: `training.max_length`. A pair whose prompt fills it is left out; one whose longer answer goes
            beyond it is cut there.
    """
    title = f"Tokens: median / 95 % / longest, and pairs too long for training.max_length = {max_length}"
    table = _table(title, "value", numbers=("prompt", "answer", "left out", "cut"))
    for value, counts in lengths.items():
        prompt, answers = counts[:, 0], counts[:, 1:]
        left_out = prompt >= max_length
        cut = ~left_out & (prompt + answers.max(axis=1, initial=0) > max_length)
        table.add_row(value, _spread(prompt), _spread(answers), _count(left_out.sum()), _count(cut.sum()))
    return table


def overlap_table(pairs: Pairs, prompts: Mapping[str, Sequence[str]]) -> Table:
    """How many prompts of the pairs, and of each split, are in each split too."""
    table = _table("Prompts that are in a split too", "prompts of", numbers=("different", *prompts))
    sets = {value: [pair.prompt for pair in own] for value, own in pairs.items()}
    splits = {f"prompts.{split}": own for split, own in prompts.items()}
    for name, own in {**sets, **splits}.items():
        shared = [
            "-" if name == f"prompts.{split}" else _count(len(shared_prompts(own, of_split)))
            for split, of_split in prompts.items()
        ]
        table.add_row(name, _count(len(shared_prompts(own, own))), *shared)
    return table


def conflict_table(pairs: Pairs) -> Table:
    """How often two values prefer opposite answers, where both judge the same two answers to the same prompt."""
    table = _table("Conflict: the same two answers, judged by two values", "values", numbers=_CONFLICT_COLUMNS)
    for found in conflicts(pairs):
        share = "-" if found.opposite_share is None else f"{found.opposite_share:.1%}"
        counts = (found.prompts, found.agree + found.opposite, found.agree, found.opposite)
        table.add_row(f"{found.first} / {found.second}", *map(_count, counts), share)
    return table


_CONFLICT_COLUMNS = ("prompts of both", "judged by both", "agree", "opposite", "opposite share")


def _table(title: str, *texts: str, numbers: Sequence[str]) -> Table:
    table = Table(title=title, title_justify="left", title_style="bold", box=box.SIMPLE_HEAD, pad_edge=False)
    for name in texts:
        table.add_column(name, overflow="fold")
    for name in numbers:
        table.add_column(name, justify="right", overflow="fold")
    return table


def _count(number: int | np.integer) -> str:
    return f"{number:,}"


def _spread(tokens: NDArray[np.int64]) -> str:
    if not tokens.size:
        return "-"
    return " / ".join(_count(number) for number in np.quantile(tokens, [0.5, 0.95, 1], method="inverted_cdf"))
