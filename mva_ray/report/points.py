"""The evaluated candidates as points: what the picture and the page draw alike."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from pandas import DataFrame, concat, isna

from mva_ray.records import CoefficientNames

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


INFEASIBLE = KindStyle("infeasible", "#B2182B", "X", "x", "x", 8)
PARTIAL = KindStyle("some prompts only", "#8A6D3B", "v", "triangle-down-open", "diamond-open", 7)


@dataclass(frozen=True)
class Points:
    """The evaluations of a run without failures.

    `main` holds those on `split`, the one the front is of. The others are of candidates that only the search split has
    scored: `faint` (none where that is the main split) and `partial`, which answered some of its prompts. `infeasible`
    ones are in `main` too, or only the search split has scored them.
    """

    split: str
    main: DataFrame
    faint: DataFrame
    infeasible: DataFrame
    partial: DataFrame

    @property
    def front(self) -> DataFrame:
        return self.main[self.main["on_front"]]

    @property
    def n_prompts(self) -> int:
        return int(self.main["n_prompts"].max()) if len(self.main) else 0

    def of_kind(self, kind: str) -> DataFrame:
        return self.main[self.main["kind"] == kind]

    def by_style(self) -> list[tuple[KindStyle, DataFrame]]:
        """What is drawn besides `faint`, lowest first: those left out, then the feasible ones of each kind."""
        feasible = self.main[self.main["feasible"]]
        styles = [(PARTIAL, self.partial), (INFEASIBLE, self.infeasible)]
        styles += [(style, feasible[feasible["kind"] == kind]) for kind, style in KINDS.items()]
        return [(style, rows) for style, rows in styles if len(rows)]


def select_points(frame: DataFrame) -> Points:
    """The held-out evaluations where there are any, else those of the search split."""
    done = frame[frame["status"] == "ok"]
    split = "held_out" if (done["split"] == "held_out").any() else "search"
    main = done[done["split"] == split]
    rest = frame[(frame["split"] == "search") & ~frame["candidate"].isin(main["candidate"])]
    searched = rest[rest["status"] == "ok"]
    infeasible = concat([main[~main["feasible"]], searched[~searched["feasible"]]])
    return Points(split, main, searched[searched["feasible"]], infeasible, rest[rest["status"] == "partial"])


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


def coefficients_text(row: Mapping[str, Any], names: CoefficientNames) -> str:
    """`brief 0.5, thorough 1`; with blocks of layers, from the first to the last, `brief 0.5/1, thorough 1/1.2`."""
    return ", ".join(f"{value} {'/'.join(_short(row[f'w_{name}']) for name in names[value])}" for value in names)


def kind_label(row: Mapping[str, Any], names: CoefficientNames) -> str:
    """A candidate's part in the comparison."""
    if row["kind"] == "single":
        return f"{next(value for value in names if has_part(row, names[value]))} alone"
    return KINDS[row["kind"]].label


def has_part(row: Mapping[str, Any], coefficients: Iterable[str]) -> bool:
    """Whether any of these coefficients is not 0."""
    return any(row[f"w_{name}"] for name in coefficients)


def left_out(row: Mapping[str, Any]) -> str | None:
    """Why a candidate that did not fail cannot be on the front; None where it can."""
    if row["status"] == "partial":
        return f"answered {row['n_prompts']} prompts only"
    return None if row["feasible"] else f"infeasible: {row['violation']}"


def candidate_label(row: Mapping[str, Any], names: CoefficientNames) -> str:
    """What a person calls a candidate: its part where that says which one it is, else its coefficients."""
    if row["kind"] in ("base", "single", "ones"):
        return kind_label(row, names)
    return coefficients_text(row, names)


def padded_range(low: float, high: float, share: float = 0.06) -> tuple[float, float]:
    """An axis range with some air around the data, also where all of it is one number."""
    air = (high - low) * share or max(abs(high) * share, 0.1)
    return low - air, high + air


def weight(coefficient: float) -> str:
    return f"{coefficient:z.2f}".replace("-", "−")


def _short(coefficient: float) -> str:
    return weight(coefficient).rstrip("0").rstrip(".")
