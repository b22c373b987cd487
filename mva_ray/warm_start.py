"""The runs that a config names to start from."""

from collections.abc import Iterator

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


def earlier_counts(config: RunConfig) -> dict[str, int]:
    """How many evaluations each run to start from has."""
    return {directory: len(ParetoTable(directory).evaluations()) for directory in config.warm_start}


def earlier_runs(config: RunConfig) -> dict[str, list[Evaluation]]:
    """Every evaluation of the runs to start from, by directory, oldest first, with its generations."""
    return {directory: ParetoTable(directory).evaluations(with_generations=True) for directory in config.warm_start}
