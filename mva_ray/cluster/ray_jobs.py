"""Jobs of a Ray cluster, over the HTTP of its head."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from io import StringIO
from pathlib import Path
from typing import TextIO

from mva_ray.cluster.job import NOT_SENT, RUN, Job, exploration, newest
from mva_ray.cluster.launcher import LAST_BYTES, problems
from mva_ray.errors import ConfigError, RunError, last_line

TUNNEL = "run `ray dashboard cluster.yaml` beside this, which brings the head's port here, or give --address"


class Jobs:
    """The jobs of one cluster; a `Launcher` whose runs are at URLs, or paths that all nodes share.

    Args:
        address: of the head's dashboard, such as `http://10.0.0.1:8265`.

    Raises:
        ConfigError: Ray was installed without what its jobs need.
        RunError: nobody answers there; so do all methods.
    """

    def __init__(self, address: str) -> None:
        from ray.job_submission import JobSubmissionClient

        self._address = address
        with self._speaking_plainly():
            self._client = JobSubmissionClient(address)

    def check(self, config: Path, run: str) -> str:
        """See `Launcher.check`: a job of its own, which is waited for."""
        printed = StringIO()
        job = self.submit(exploration(config, run, dry_run=True))
        with self._speaking_plainly():
            asyncio.run(self._write(job, printed))
            ended = str(self._client.get_job_status(job).value)
        if ended != "SUCCEEDED":
            raise ConfigError("config", problems(printed.getvalue(), Path(config.name)))
        return printed.getvalue()

    def start(self, config: Path, run: str) -> None:
        """See `Launcher.start`."""
        self.submit(exploration(config, run))

    def runs(self) -> dict[str, bool]:
        """See `Launcher.runs`."""
        with self._speaking_plainly():
            jobs = sorted(self._client.list_jobs(), key=lambda job: job.start_time or 0)
        return {job.metadata[RUN]: not job.status.is_terminal() for job in jobs if RUN in (job.metadata or {})}

    def log(self, run: str) -> str:
        """See `Launcher.log`."""
        with self._speaking_plainly():
            return str(self._client.get_job_logs(self._job_of(run)))[-LAST_BYTES:]

    def submit(self, job: Job) -> str:
        """Send and start a job; its id. It goes on when this process ends."""
        environment = {"working_dir": str(job.folder), "excludes": list(NOT_SENT)}
        with self._speaking_plainly():
            submitted: str = self._client.submit_job(
                entrypoint=job.entrypoint, runtime_env=environment, metadata=dict(job.metadata)
            )
        return submitted

    def follow(self, run: str, out: TextIO) -> str:
        """Write what the newest job of a run prints until it ends; its last state, `SUCCEEDED` among others."""
        with self._speaking_plainly():
            found = self._job_of(run)
            asyncio.run(self._write(found, out))
            return str(self._client.get_job_status(found).value)

    def cancel(self, run: str) -> str:
        """Ask the newest job of a run to stop, as Ctrl-C would; its id."""
        with self._speaking_plainly():
            found = self._job_of(run)
            self._client.stop_job(found)
            return found

    def _job_of(self, run: str) -> str:
        return newest(self._client.list_jobs(), run).submission_id

    async def _write(self, job: str, out: TextIO) -> None:
        async for lines in self._client.tail_job_logs(job):
            out.write(lines)
            out.flush()

    @contextmanager
    def _speaking_plainly(self) -> Iterator[None]:
        try:
            yield
        except ConnectionError as error:
            raise RunError(f"no Ray cluster answers at {self._address}: {TUNNEL}") from error
        except (RuntimeError, ValueError) as error:
            if "ray[default]" in str(error):
                hint = "pip install 'mva_ray[cluster]'"
                raise ConfigError("Ray's jobs", [f"are not installed: {hint}"]) from error
            raise RunError(f"the cluster at {self._address} refuses: {last_line(error)}") from error
