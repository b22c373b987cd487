"""A finished search in the run directory, so that a start that wants the same one need not propose it again."""

from collections.abc import Container, Sequence

from mva_ray.errors import DamagedFile
from mva_ray.records import Coefficients
from mva_ray.run_dir.store import File


def is_finished(file: File, key: str, known: Container[Coefficients]) -> bool:
    """Whether the search of that key finished here, and all its candidates are known.

    Args:
        key: hashes everything that proposals depend on besides the results of these candidates.
        known: those that need not be evaluated (again).
    """
    try:
        content = file.read_object() or {"key": None}
        return bool(content["key"] == key and all(tuple(row) in known for row in content["candidates"]))
    except (DamagedFile, KeyError, TypeError):  # the search is proposed again, and the file replaced
        return False


def note_finished(file: File, key: str, candidates: Sequence[Coefficients]) -> None:
    """Keep the candidates of a search, in the order of proposal, in place of those of an earlier one."""
    file.write_json({"key": key, "candidates": candidates})
