"""The run's own directory, and the runs that it starts from."""

import os
from collections.abc import Iterator
from pathlib import Path

from mva_ray.checks.subject import Finding, Subject
from mva_ray.errors import last_line
from mva_ray.run_dir.place import is_url


def warm_start_problems(subject: Subject) -> Iterator[Finding]:
    """The runs whose tables cannot be read, and the run's own directory, which grows while it searches."""
    for index, directory in enumerate(subject.config.warm_start):
        if message := _own(directory, subject.run_dir) or _unreadable(directory):
            yield subject.problem(("warm_start", index), message)


def run_dir_problems(subject: Subject) -> Iterator[Finding]:
    """A directory that cannot be made where it should be; nothing is made."""
    if is_url(subject.run_dir):
        return  # asked when the run starts: the dry run asks nobody
    run_dir = Path(subject.run_dir)
    existing = next(parent for parent in (run_dir, *run_dir.parents) if parent.exists())
    if not existing.is_dir() or not os.access(existing, os.W_OK):
        why = "is not writable" if existing.is_dir() else "is a file"
        yield subject.problem((), f"the run directory {run_dir} cannot be made: {existing} {why}")


def _own(directory: str, own: str) -> str | None:
    if Path(directory).resolve() != Path(own).resolve():
        return None
    return f"{directory} is this run's own directory: give the run that starts from it another name or --run"


def _unreadable(directory: str) -> str | None:
    from mva_ray.table import ParetoTable

    try:
        ParetoTable(directory).evaluations()
    except Exception as error:  # whatever Delta, Parquet or the file system raise
        return f"the table of {directory} cannot be read: {last_line(error)}"
    return None
