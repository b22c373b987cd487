"""Logs as JSON lines, for whatever collects the output of jobs: all that a process says is one object a line."""

import io
import json
import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from datetime import UTC, datetime
from typing import Any


class JsonLines(logging.Formatter):
    """`time` (UTC), `level`, `logger`, `message`, and `exception` where there is one."""

    def format(self, record: logging.LogRecord) -> str:
        entry: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info:
            entry["exception"] = self.formatException(record.exc_info)
        return json.dumps(entry, ensure_ascii=False)


class _Printed(io.TextIOBase):
    """What is printed, a record a line."""

    def __init__(self, logger: str, level: int) -> None:
        self._log, self._level, self._begun = logging.getLogger(logger), level, ""

    def writable(self) -> bool:
        return True

    def write(self, text: str) -> int:
        *lines, self._begun = (self._begun + text).split("\n")
        for line in filter(str.strip, lines):
            self._log.log(self._level, line.rstrip())
        return len(text)

    def close(self) -> None:
        if not self.closed and self._begun:
            self.write("\n")
        super().close()


@contextmanager
def json_lines() -> Iterator[None]:
    """Everything as JSON on standard output: logs, what is printed, errors; no progress bars."""
    handler, root = logging.StreamHandler(sys.stdout), logging.getLogger()
    handler.setFormatter(JsonLines())
    before, level = root.handlers, root.level
    root.handlers, disabled = [handler], os.environ.get("TQDM_DISABLE")
    root.setLevel(logging.INFO)
    os.environ["TQDM_DISABLE"] = "1"
    printed, complained = _Printed("mva_ray.stdout", logging.INFO), _Printed("mva_ray.stderr", logging.WARNING)
    try:
        with redirect_stdout(printed), redirect_stderr(complained):
            yield
    finally:
        printed.close()
        complained.close()
        root.handlers = before
        root.setLevel(level)
        os.environ.pop("TQDM_DISABLE") if disabled is None else os.environ.update(TQDM_DISABLE=disabled)
