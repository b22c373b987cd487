"""What a run directory holds: the name of every file of a run, once."""

from pathlib import Path

from mva_ray.run_dir.place import joined
from mva_ray.run_dir.samples import SampleStore
from mva_ray.run_dir.store import Directory, File
from mva_ray.run_dir.stores import store_at

STATE_FILE = "run.json"
ADAPTERS, TABLE = "adapters", "table"


class RunDirectory:
    """One run's files. Names that end with a key hold what depends on nothing that the key does not hash.

    Args:
        place: a path or a URL; it need not exist before something is written.

    Raises:
        ConfigError: a URL that is none of an object store.
    """

    def __init__(self, place: Path | str) -> None:
        self.store = store_at(place)

    @property
    def place(self) -> str:
        """The absolute path, or the URL."""
        return self.store.place

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
    def spent(self) -> File:
        """What each phase has reserved, and how many samples it has drawn."""
        return self._file("spent.json")

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

    def yardstick(self, name: str, key: str) -> File:
        """Of a comparison: what the base model answered, and its rewards."""
        return self._file(f"yardsticks/{name}-{key}.json")

    @property
    def comparison(self) -> File:
        """Of a comparison: all that it found."""
        return self._file("comparison.json.gz")

    @property
    def judge(self) -> str:
        """Of a comparison: the judge's answers."""
        return joined(self.place, "judge")

    def seed(self, seed: int) -> "RunDirectory":
        """Of a comparison: what one seed keeps for itself."""
        return RunDirectory(joined(self.place, f"seed-{seed}"))

    @property
    def adapters(self) -> str:
        """The folder of all adapters."""
        return joined(self.place, ADAPTERS)

    def adapter(self, value: str, key: str) -> Directory:
        """A PEFT directory; there only when it is complete."""
        return Directory(self.store, f"{ADAPTERS}/{value}-{key}")

    @property
    def table(self) -> str:
        """The Delta table."""
        return joined(self.place, TABLE)

    @property
    def ray(self) -> str:
        """Ray's own files: may be deleted where nothing runs."""
        return joined(self.place, "ray")

    @property
    def plot(self) -> File:
        return self._file("front.png")

    @property
    def report(self) -> File:
        return self._file("report.html")

    def _file(self, name: str) -> File:
        return File(self.store, name)
