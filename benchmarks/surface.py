"""Keep the rewards of a run's candidates on the search split as data: a recorded reward surface.

mva-ray explore --config benchmarks/surface.yaml
python benchmarks/surface.py runs/surface --output benchmarks/surface_smollm2.json.gz
"""

import argparse
import gzip
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mva_ray.records import Evaluation, in_order
from mva_ray.table import ParetoTable


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("--output", type=Path, default=Path(__file__).with_name("surface_smollm2.json.gz"))
    arguments = parser.parse_args()
    rows = [row for row in ParetoTable(arguments.run).current("search", with_generations=True) if row.status == "ok"]
    values = list(rows[0].reward_mean)
    surface = {"values": values, "prompts": rows[0].n_prompts, "base_model": rows[0].base_model}
    recorded = sorted((recorded_row(row, values) for row in rows), key=lambda row: row["w"])
    lines = ",\n".join(json.dumps(row) for row in recorded)
    text = json.dumps(surface)[:-1] + ', "candidates": [\n' + lines + "\n]}\n"
    arguments.output.write_bytes(gzip.compress(text.encode(), mtime=0))
    print(f"{len(recorded)} candidates: {arguments.output}")


def recorded_row(row: Evaluation, values: Sequence[str]) -> dict[str, Any]:
    """Means over the prompts and their standard errors, and what each prompt had: rewards [n][k] and tokens [n]."""
    return {
        "w": in_order(row.coefficients, values),
        "mean": [round(row.reward_mean[value], 4) for value in values],
        "se": [round(row.reward_se[value], 4) for value in values],
        "rewards": [[round(scored.rewards[value], 3) for value in values] for scored in row.generations],
        "tokens": [scored.generation.tokens for scored in row.generations],
    }


if __name__ == "__main__":
    main()
