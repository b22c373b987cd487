"""The evaluated candidates as points: what the picture and the page draw alike."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from pandas import DataFrame, isna

Point = tuple[float, float]

FRONT_COLOR = "#1F7FC4"
FAINT_COLOR = "#9A9A9A"
VALUE_COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
SPLIT_LABELS = {"held_out": "held-out", "search": "search", "train": "train"}


@dataclass(frozen=True)
class KindStyle:
    """How one kind of candidate looks: colours of Okabe and Ito (2008), and a shape.

    `symbol_3d` is one of the few that WebGL draws without a font.
    """

    label: str
    color: str
    marker: str
    symbol: str
    symbol_3d: str
    size: float


KINDS = {
    "search": KindStyle("searched", "#56B4E9", "o", "circle", "circle", 7),
    "convex": KindStyle("convex combination", "#009E73", "D", "diamond", "circle", 8),
    "ones": KindStyle("all ones", "#CC79A7", "*", "star", "square", 14),
    "single": KindStyle("single adapter", "#D55E00", "^", "triangle-up", "diamond", 10),
    "base": KindStyle("base model", "#5C5C5C", "s", "square", "square", 9),
}


@dataclass(frozen=True)
class Points:
    """The evaluations of a run without failures.

    `main` holds those on `split`, the one the front is of; `faint` those candidates which only the search
    split has scored (empty where that is the main split).
    """

    split: str
    main: DataFrame
    faint: DataFrame

    @property
    def front(self) -> DataFrame:
        return self.main[self.main["on_front"]]

    @property
    def n_prompts(self) -> int:
        return int(self.main["n_prompts"].max()) if len(self.main) else 0

    def of_kind(self, kind: str) -> DataFrame:
        return self.main[self.main["kind"] == kind]


def select_points(frame: DataFrame) -> Points:
    """The held-out evaluations where there are any, else those of the search split."""
    scored = frame[frame["status"] == "ok"]
    split = "held_out" if (scored["split"] == "held_out").any() else "search"
    main = scored[scored["split"] == split]
    faint = scored[(scored["split"] == "search") & ~scored["candidate"].isin(main["candidate"])]
    return Points(split, main, faint)


def staircase(front: Sequence[Point], floor: Point) -> list[Point]:
    """Corners of the region that a two-value front attains (both higher is better), from top left to bottom right.

    Between neighbours the line goes down at the left one's x and then right at the right one's y: no point
    above it is as good as a candidate's. It runs out to `floor`, the lower left end of the picture.
    """
    if not front:
        return []
    ordered = sorted(front, key=lambda point: (point[0], -point[1]))
    corners = [(floor[0], ordered[0][1]), ordered[0]]
    for (left, _), (right, low) in pairwise(ordered):
        corners += [(left, low), (right, low)]
    return [*corners, (ordered[-1][0], floor[1])]


def number(value: Any) -> str:
    """A reward for reading: three decimals, one where it is large."""
    if isna(value):
        return "–"
    return f"{value:z.{1 if abs(value) >= 10 else 3}f}".replace("-", "−")


def reward_text(row: Mapping[str, Any], value: str) -> str:
    return f"{number(row[value])} ± {number(row[f'{value}_se'])}"


def coefficients_text(row: Mapping[str, Any], values: Sequence[str]) -> str:
    return ", ".join(f"{value} {weight(row[f'w_{value}']).rstrip('0').rstrip('.')}" for value in values)


def kind_label(row: Mapping[str, Any], values: Sequence[str]) -> str:
    """A candidate's part in the comparison."""
    if row["kind"] == "single":
        return f"{max(values, key=lambda value: abs(row[f'w_{value}']))} alone"
    return KINDS[row["kind"]].label


def candidate_label(row: Mapping[str, Any], values: Sequence[str]) -> str:
    """What a person calls a candidate: its part where that says which one it is, else its coefficients."""
    if row["kind"] in ("base", "single", "ones"):
        return kind_label(row, values)
    return coefficients_text(row, values)


def padded_range(low: float, high: float, share: float = 0.06) -> tuple[float, float]:
    """An axis range with some air around the data, also where all of it is one number."""
    air = (high - low) * share or max(abs(high) * share, 0.1)
    return low - air, high + air


def weight(coefficient: float) -> str:
    return f"{coefficient:z.2f}".replace("-", "−")
