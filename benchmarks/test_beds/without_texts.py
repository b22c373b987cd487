"""A comparison's report without prompts and answers: of data that may be measured on, but not passed on.

python -m benchmarks.test_beds.without_texts runs/hh_compare docs/results/hh
"""

import argparse
from pathlib import Path

from mva_ray.compare.report import write_comparison
from mva_ray.compare.results import ComparisonResult, read_result, write_result
from mva_ray.run_dir.layout import RunDirectory


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("comparison", type=Path)
    parser.add_argument("out", type=Path)
    options = parser.parse_args()
    result = without_texts(read_result(options.comparison / "comparison.json.gz"))
    own = RunDirectory(str(options.out))
    write_result(result, own.comparison)
    write_comparison(result, own.place)
    (options.out / "report.html").unlink()


def without_texts(result: ComparisonResult) -> ComparisonResult:
    """Prompts by their numbers, and no completions."""
    methods = [
        method.model_copy(
            update={"candidates": [each.model_copy(update={"completions": []}) for each in method.candidates]}
        )
        for method in result.methods
    ]
    prompts = [f"prompt {number}" for number in range(1, len(result.prompts) + 1)]
    return result.model_copy(update={"prompts": prompts, "methods": methods})


if __name__ == "__main__":
    main()
