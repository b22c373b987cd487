"""The runs that a config names to start from."""

from collections.abc import Iterator
from pathlib import Path

from mva_ray.config import Draft, RunConfig
from mva_ray.config_yaml import Problem
from mva_ray.errors import last_line
from mva_ray.records import Evaluation
from mva_ray.table import ParetoTable


def warm_start_problems(draft: Draft) -> Iterator[Problem]:
    """The runs whose tables cannot be read."""
    for index, directory in enumerate(draft.config.warm_start if draft.config else []):
        try:
            ParetoTable(directory).evaluations()
        except Exception as error:  # whatever Delta, Parquet or the file system raise
            message = f"the table of {directory} cannot be read: {last_line(error)}"
            yield draft.document.problem(("warm_start", index), message)


def earlier_runs(config: RunConfig) -> dict[str, list[Evaluation]]:
    """Every evaluation of the runs to start from, oldest first, with its generations, by the directory's name."""
    tables = {Path(directory): ParetoTable(directory) for directory in config.warm_start}
    return {str(path): table.evaluations(with_generations=True) for path, table in tables.items()}
