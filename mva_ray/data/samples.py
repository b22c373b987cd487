"""The base model's own samples on disk: appended batch by batch, so that a killed run loses one batch at most."""

import json
import os
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from mva_ray.records import Generation


class SampleStore:
    """A JSONL file with one line a prompt: its list of generations. A last line cut short by a kill is dropped."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def read(self) -> list[list[Generation]]:
        """All samples stored, [prompts][completions], in the order they were appended."""
        if not self._path.exists():
            return []
        whole = self._path.read_bytes()
        complete = whole[: whole.rfind(b"\n") + 1]
        if len(complete) < len(whole):
            os.truncate(self._path, len(complete))
        return [[Generation(**fields) for fields in json.loads(line)] for line in complete.splitlines()]

    def append(self, samples: Sequence[Sequence[Generation]]) -> None:
        """Store the samples of some more prompts; on disk when this returns."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        lines = [json.dumps([asdict(generation) for generation in generations]) + "\n" for generations in samples]
        with self._path.open("a", encoding="utf-8") as file:
            file.writelines(lines)
            file.flush()
            os.fsync(file.fileno())
