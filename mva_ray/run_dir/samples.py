"""The base model's own samples: appended batch by batch, so that a killed run keeps all but the last few."""

import json
from collections.abc import Sequence
from typing import Any

from mva_ray.errors import DamagedFile
from mva_ray.records import Generation
from mva_ray.run_dir.store import File


class SampleStore:
    """A JSONL file with one line a batch of prompts, [prompts][completions]; a line cut short by a kill is dropped."""

    def __init__(self, file: File) -> None:
        self._file = file

    @property
    def file(self) -> File:
        """Where they are."""
        return self._file

    def read(self) -> list[list[Generation]]:
        """All samples stored, [prompts][completions], in the order they were appended.

        Raises:
            DamagedFile: a line is no batch of samples.
        """
        whole = self._file.read() or b""
        complete = _complete(whole)
        if len(complete) < len(whole):
            self._file.write(complete)
        try:
            return [[_generation(fields) for fields in generations] for generations in _prompts(complete)]
        except (ValueError, TypeError) as error:
            raise DamagedFile(
                self._file.place, f"no samples of this version ({type(error).__name__}: {error})"
            ) from error

    @property
    def n_prompts(self) -> int:
        """How many prompts have samples."""
        return len(_prompts(_complete(self._file.read() or b"")))

    def append(self, samples: Sequence[Sequence[Generation]]) -> None:
        """Store the samples of some more prompts, all of them or none; on disk when this returns."""
        batch = [[generation.content() for generation in generations] for generations in samples]
        self._file.append((json.dumps(batch) + "\n").encode())


def _generation(fields: dict[str, Any]) -> Generation:
    """Those of earlier versions have no ids."""
    ids = fields.pop("ids", None)
    return Generation(**fields, ids=None if ids is None else tuple(ids))


def _complete(whole: bytes) -> bytes:
    return whole[: whole.rfind(b"\n") + 1]


def _prompts(complete: bytes) -> list[list[dict[str, Any]]]:
    return [generations for line in complete.splitlines() for generations in json.loads(line)]
