"""One candidate of a run for a wish: what export, the service and people's scripts all ask."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from mva_ray.errors import ConfigError
from mva_ray.service.query import Split
from mva_ray.service.wish_text import WishText
from mva_ray.service.wishes import KNEE, PRESET, WITHIN, Named, Preset, Wish, presets, ranked, sharpest_knee

if TYPE_CHECKING:
    import pandas as pd


def select(run: Path | str, wish: Wish | WishText, split: Split | None = None) -> str:
    """The name of the candidate that is best for a wish.

    Args:
        split: the prompts whose rewards count; if None, `held_out` where there are rows, else `search`.

    Raises:
        ConfigError: no run there, every problem of the wish at once, or no candidate that it allows.
    """
    from mva_ray.table.snapshot import snapshot

    found = snapshot(run)
    values = found.state.values
    wish = wish.wish(values) if isinstance(wish, WishText) else wish
    if isinstance(wish, Named):
        return found.evaluation(wish.candidate, split).candidate
    if problems := list(wish.problems(values)):
        raise ConfigError("wish", problems)
    frame = found.on(split)
    if not frame["on_front"].any():
        raise ConfigError(str(run), ["there is no candidate on the front"])
    if isinstance(wish, Preset):
        return _preset(frame, wish, values)
    rows = ranked(frame, wish, values).rows
    if rows.empty:
        raise ConfigError(str(run), ["no candidate on the front does that: let more values fall, or further"])
    return str(rows["candidate"].iloc[0])


def _preset(frame: "pd.DataFrame", wish: Preset, values: Sequence[str]) -> str:
    names = named_presets(frame, values, wish.within)
    if wish.name not in names:
        raise ConfigError("preset", [f"there is no '{wish.name}' on this front; choose from {', '.join(names)}"])
    return names[wish.name]


def named_presets(frame: "pd.DataFrame", values: Sequence[str], within: float = WITHIN) -> dict[str, str]:
    """Every preset of the front of one split: its name -> its candidate."""
    fewest = presets(frame, within, values)["candidate"].tolist()
    named = {f"{PRESET}{number}": candidate for number, candidate in enumerate(fewest, 1)}
    knee = sharpest_knee(frame, values)
    return named if knee is None else named | {KNEE: knee}
