"""What a finished run shows: wall time by stage, and how far the adapters move their own values on held-out prompts.

make quickstart && .venv/bin/python benchmarks/quickstart.py runs/quickstart
"""

import argparse
import json
from math import sqrt
from pathlib import Path
from statistics import fmean, stdev

import pandas as pd

from mva_ray.run_dir.run_state import RunState
from mva_ray.table import ParetoTable


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path)
    run = parser.parse_args().run
    print_stages(json.loads((run / "timings.json").read_text()))
    print_candidates(ParetoTable(run))
    print_adapters(ParetoTable(run), RunState.load(run).values)
    print_extremes(ParetoTable(run), RunState.load(run).values)


def print_stages(timings: dict[str, float]) -> None:
    """Seconds and share of each stage; what is left of the whole is Ray's start and the report's imports."""
    whole = timings["whole run"]
    for stage, seconds in timings.items():
        print(f"{stage:28} {seconds:7.1f} s {seconds / whole:6.1%}")


def print_candidates(table: ParetoTable) -> None:
    for split, rows in table.frame().groupby("split"):
        print(
            f"{split}: {len(rows)} candidates on {rows['n_prompts'].iloc[0]} prompts, "
            f"{rows['on_front'].sum()} of them on the front"
        )


def print_adapters(table: ParetoTable, values: tuple[str, ...]) -> None:
    """Each adapter alone against the base model on its own value, paired by prompt."""
    frame = table.frame("held_out")
    base = frame[frame["kind"] == "base"]["candidate"].item()
    for value in values:
        alone = frame[(frame["kind"] == "single") & (frame[f"w_{value}"] == 1)]["candidate"].item()
        gains = [
            with_adapter.rewards[value] - without.rewards[value]
            for with_adapter, without in zip(
                table.generations(alone, "held_out"), table.generations(base, "held_out"), strict=True
            )
        ]
        error = stdev(gains) / sqrt(len(gains))
        print(f"'{value}' alone against base: {fmean(gains):+.3f} = {fmean(gains) / error:.1f} paired standard errors")


def print_extremes(table: ParetoTable, values: tuple[str, ...]) -> None:
    """The best and the worst of the front on each value, and their distance in standard errors of a difference."""
    front = table.front("held_out")
    for value in values:
        best, worst = front.loc[front[value].idxmax()], front.loc[front[value].idxmin()]
        print(
            f"front on '{value}': {worst[value]:.3f} to {best[value]:.3f}, "
            f"{distance(best, worst, value):.1f} standard errors apart"
        )


def distance(best: pd.Series, worst: pd.Series, value: str) -> float:
    return float((best[value] - worst[value]) / sqrt(best[f"{value}_se"] ** 2 + worst[f"{value}_se"] ** 2))


if __name__ == "__main__":
    main()
