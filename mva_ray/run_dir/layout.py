"""What a run directory holds: the name of every file of a run, once."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from mva_ray.errors import ConfigError, RunError
from mva_ray.run_dir.local import LocalStore
from mva_ray.run_dir.samples import SampleStore
from mva_ray.run_dir.store import File, Store

STATE_FILE = "run.json"


class RunDirectory:
    """One run's files. Names that end with a key hold what depends on nothing that the key does not hash.

    Args:
        place: a directory; it need not exist before something is written.
    """

    def __init__(self, place: Path | str) -> None:
        self.path = Path(place).absolute()
        self.store: Store = LocalStore(self.path)

    @property
    def state(self) -> File:
        """Which rows of the table are current, see `RunState`."""
        return self._file(STATE_FILE)

    @property
    def plan(self) -> File:
        """The keys of all stages, and the settings they came from."""
        return self._file("plan.json")

    @property
    def timings(self) -> File:
        """Seconds spent on each stage so far."""
        return self._file("timings.json")

    @property
    def conflict(self) -> File:
        """The correlation of rewards on the base model's samples."""
        return self._file("conflict.json")

    @property
    def pair_counts(self) -> File:
        """How many pairs the samples gave each value."""
        return self._file("pairs.json")

    @property
    def adapter_paths(self) -> File:
        """The adapter of every value, in the order of training."""
        return self._file("adapters.json")

    @property
    def search(self) -> File:
        """What a search that has finished proposed."""
        return self._file("search.json")

    @property
    def training_seconds(self) -> File:
        """Of a comparison: what each adapter took."""
        return self._file("training_seconds.json")

    def samples(self, key: str) -> SampleStore:
        """The base model's answers that pairs are made of."""
        return SampleStore(self._file(f"samples/{key}.jsonl"))

    def scores(self, value: str, key: str) -> File:
        """One value's reward of every sample."""
        return self._file(f"scores/{value}-{key}.json")

    def pair_scores(self, value: str, key: str) -> File:
        """Of a comparison: every reward of both sides of one value's pairs."""
        return self._file(f"scores/pairs-{value}-{key}.json")

    def pairs(self, value: str, key: str) -> File:
        """The pairs made of samples and scores."""
        return self._file(f"pairs/{value}-{key}.jsonl")

    @property
    def adapters(self) -> Path:
        """The folder of all adapters."""
        return self.store.directory("adapters")

    def adapter(self, value: str, key: str) -> Path:
        """A PEFT directory; there only when it is complete."""
        return self.adapters / f"{value}-{key}"

    @property
    def table(self) -> Path:
        """The Delta table."""
        return self.store.directory("table")

    @property
    def ray(self) -> Path:
        """Ray's own files: may be deleted where nothing runs."""
        return self.store.directory("ray")

    @property
    def plot(self) -> Path:
        return self.store.directory("front.png")

    @property
    def report(self) -> Path:
        return self.store.directory("report.html")

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold this directory alone; the system lets go of it where the process dies.

        Raises:
            RunError: another process holds it.
        """
        path = self.store.directory(".lock")
        lock = FileLock(path)
        try:
            lock.acquire(blocking=False)
        except Timeout:
            raise RunError(f"another process is at work in {self.path}: wait for it, or end it") from None
        try:
            yield
        finally:
            lock.release()

    def check_writable(self) -> None:
        """Makes the directory where it is missing, and writes to it.

        Raises:
            ConfigError: it cannot be made or written.
        """
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=self.path):
                pass
        except OSError as error:
            existing = next(parent for parent in (self.path, *self.path.parents) if parent.exists())
            problem = f"the run directory cannot be written: {error.strerror} (what exists of it: {existing})"
            raise ConfigError(str(self.path), [problem]) from error

    def _file(self, name: str) -> File:
        return File(self.store, name)
