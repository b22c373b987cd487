"""An exploration as a job of a Ray cluster: what is sent there, what it runs, and which job belongs to which run."""

import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from mva_ray.config.document import Location
from mva_ray.config.run import read_config
from mva_ray.errors import ConfigError

RUN = "mva_ray_run"
"""The key of a job's metadata that holds the place of its run."""

NOT_SENT = (".git", ".venv", "runs", "**/__pycache__")


@dataclass(frozen=True)
class Job:
    """What a cluster is asked to run.

    Args:
        entrypoint: a shell command, run on the head.
        folder: is sent to every node and is where the command starts; all that the config names lies in it.
        metadata: is kept with the job.
    """

    entrypoint: str
    folder: Path
    metadata: Mapping[str, str]


class Known(Protocol):
    """A job as the cluster knows it; `start_time` in milliseconds."""

    @property
    def submission_id(self) -> str: ...

    @property
    def metadata(self) -> Mapping[str, str] | None: ...

    @property
    def start_time(self) -> int | None: ...


def exploration(config: Path, run: str, dry_run: bool = False, log_json: bool = False) -> Job:
    """The exploration of a config as a job, whose driver may start on any head and goes on where the run stands.

    Args:
        config: a YAML file; a path in it is relative to its folder, or absolute and then one of the cluster's.
        run: the URL of the run, or a path that all nodes share.
        dry_run: only say what it would do; the job is none of the run's then.
        log_json: whether the job says everything in JSON, an object a line.

    Raises:
        ConfigError: every problem of the config that shows without its data, or what the job would not find.
    """
    draft, folder = read_config(config), config.parent.absolute()
    why = f"lies outside {folder}, which is all that is sent: move it there"
    document = draft.document
    draft.finish([document.problem(location, f"{file} {why}") for location, file in _outside(config, document.data)])
    if not ("://" in run or Path(run).is_absolute()):
        raise ConfigError("--run", [f"{run} is relative, and would be lost with the job: give a URL or a shared path"])
    command = ["python", "-m", "mva_ray.explore", "--config", config.name, "--run", run]
    if dry_run:
        return Job(shlex.join([*command, "--dry-run"]), folder, {})
    command += ["--log-json"] if log_json else []
    return Job(shlex.join(command), folder, {RUN: run})


def newest(jobs: Sequence[Known], run: str) -> Known:
    """The job of a run that was submitted last.

    Raises:
        ConfigError: there is none.
    """
    of_run = [job for job in jobs if (job.metadata or {}).get(RUN) == run]
    if not of_run:
        others = sorted({(job.metadata or {})[RUN] for job in jobs if RUN in (job.metadata or {})})
        known = f"; there are jobs of {', '.join(others)}" if others else ""
        raise ConfigError(run, [f"the cluster knows no job of this run{known}"])
    return max(of_run, key=lambda job: job.start_time or 0)


def _outside(config: Path, entry: Any, location: Location = ()) -> Iterator[tuple[Location, str]]:
    """Files beside the config's folder, and where the config names them."""
    if isinstance(entry, Mapping):
        for key, value in entry.items():
            yield from _outside(config, value, (*location, key))
    elif isinstance(entry, list):
        for index, value in enumerate(entry):
            yield from _outside(config, value, (*location, index))
    elif isinstance(entry, str) and entry.startswith("..") and (config.parent / entry).exists():
        yield location, entry
