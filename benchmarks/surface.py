"""Keep the rewards of a run's candidates on the search split as data: a recorded reward surface.

mva-ray explore --config benchmarks/surface.yaml --run runs/surface
python benchmarks/surface.py runs/surface --output benchmarks/surface_smollm2.json
"""

import argparse
import json
from pathlib import Path

from mva_ray.table import ParetoTable


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("--output", type=Path, default=Path(__file__).with_name("surface_smollm2.json"))
    arguments = parser.parse_args()
    rows = [row for row in ParetoTable(arguments.run).evaluations(split="search") if row.status == "ok"]
    values = list(rows[0].coefficients)
    recorded = sorted(
        (
            [row.coefficients[value] for value in values],
            [round(row.reward_mean[value], 4) for value in values],
            [round(row.reward_se[value], 4) for value in values],
        )
        for row in rows
    )
    surface = {"values": values, "prompts": rows[0].n_prompts, "base_model": rows[0].base_model}
    lines = ",\n".join(json.dumps(dict(zip(("w", "mean", "se"), row, strict=True))) for row in recorded)
    arguments.output.write_text(json.dumps(surface)[:-1] + ', "candidates": [\n' + lines + "\n]}\n")
    print(f"{len(recorded)} candidates: {arguments.output}")


if __name__ == "__main__":
    main()
