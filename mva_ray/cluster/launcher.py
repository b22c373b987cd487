"""Where an exploration goes on by itself when whoever started it has gone: the seam, and the one of this machine."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

import psutil

from mva_ray.config.document import read_yaml
from mva_ray.config.fields import NAME
from mva_ray.errors import ConfigError, RunError
from mva_ray.run_dir.files import write_atomically
from mva_ray.run_dir.place import name_of

CHECK_S = 600.0
LAST_BYTES = 20_000
"""Of a log, at most."""
PLAIN = {"COLUMNS": "100", "NO_COLOR": "1", "TERM": "dumb", "PYTHONUNBUFFERED": "1"}
"""So that what is printed is read as it comes, and without colours."""


class Launcher(Protocol):
    """Runs explorations. Places of runs are absolute paths or URLs, and all of one launcher differ in their last name.

    Every method raises RunError where what runs them does not answer.
    """

    def check(self, config: Path, run: str) -> str:
        """What `mva-ray explore --dry-run` prints where the exploration would run; it computes nothing.

        Raises:
            ConfigError: every problem of the config.
        """
        ...

    def start(self, config: Path, run: str) -> None:
        """Start it, and return at once."""
        ...

    def runs(self) -> Mapping[str, bool]:
        """The place of every run that was started this way -> whether it is at work."""
        ...

    def cancel(self, run: str) -> object:
        """Ask it to stop, as Ctrl-C would; nothing where it is not at work."""
        ...

    def log(self, run: str) -> str:
        """The end of what it printed."""
        ...


class Processes:
    """Explorations as processes of this machine, in sessions of their own.

    Args:
        records: a directory: which process each run is, and what it prints.
    """

    def __init__(self, records: Path) -> None:
        self._records = records
        self._children: list[subprocess.Popen[bytes]] = []

    def check(self, config: Path, run: str) -> str:
        """See `Launcher.check`."""
        command = [*_command(config, run), "--dry-run"]
        try:
            done = subprocess.run(
                command, capture_output=True, text=True, errors="replace", timeout=CHECK_S, env=_environment()
            )
        except subprocess.TimeoutExpired:
            raise RunError(f"the dry run was not done after {CHECK_S:g} s") from None
        if done.returncode:
            raise ConfigError("config", problems(done.stderr, config))
        return done.stdout

    def start(self, config: Path, run: str) -> None:
        """See `Launcher.start`."""
        self._records.mkdir(parents=True, exist_ok=True)
        with self._log(run).open("wb") as log:
            child = subprocess.Popen(
                _command(config, run),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=_environment(),
                start_new_session=True,
            )
        self._children.append(child)
        record = {"run": run, "pid": child.pid, "started": psutil.Process(child.pid).create_time()}
        write_atomically(self._record(run), json.dumps(record).encode())

    def runs(self) -> dict[str, bool]:
        """See `Launcher.runs`."""
        records = [json.loads(file.read_bytes()) for file in sorted(self._records.glob("*.json"))]
        return {record["run"]: self._process(record) is not None for record in records}

    def cancel(self, run: str) -> None:
        """See `Launcher.cancel`."""
        if process := self._process(json.loads(self._record(run).read_bytes())):
            process.terminate()

    def log(self, run: str) -> str:
        """See `Launcher.log`."""
        content = self._log(run).read_bytes() if self._log(run).exists() else b""
        return content[-LAST_BYTES:].decode(errors="replace")

    def _process(self, record: Mapping[str, float]) -> psutil.Process | None:
        """The process of a record; None where it has ended, also where another has its number now."""
        self._children = [child for child in self._children if child.poll() is None]
        try:
            found = psutil.Process(int(record["pid"]))
            alive = found.create_time() == record["started"] and found.status() != psutil.STATUS_ZOMBIE
        except psutil.NoSuchProcess:
            return None
        return found if alive else None

    def _record(self, run: str) -> Path:
        return self._records / f"{name_of(run)}.json"

    def _log(self, run: str) -> Path:
        return self._records / f"{name_of(run)}.log"


def problems(said: str, config: Path) -> list[str]:
    """What a command that failed says is wrong, one line each, without the name of its config."""
    _, found, text = said.rpartition("error: ")
    first, *others = (text if found else said).strip().splitlines() or ["it ended without a word"]
    return [line.strip().removeprefix("- ") for line in others] or [first.removeprefix(f"{config}: ")]


def name_in(config: Path) -> str:
    """The name of a config, which is that of its run.

    Raises:
        ConfigError: the file is no YAML mapping, or has no name that a directory may have.
    """
    name = read_yaml(config).data.get("name")
    if not (isinstance(name, str) and re.fullmatch(NAME, name)):
        raise ConfigError("config", ["name: needs lower-case letters, digits and _, a letter first, 32 at most"])
    return name


def _command(config: Path, run: str) -> list[str]:
    return [sys.executable, "-m", "mva_ray.explore", "--config", str(config), "--run", run]


def _environment() -> dict[str, str]:
    return os.environ | PLAIN
