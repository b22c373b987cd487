"""A finished search in the run directory, so that a start that wants the same one need not propose it again."""

from collections.abc import Mapping, Sequence

from mva_ray.errors import DamagedFile
from mva_ray.records import Coefficients, Proposal
from mva_ray.run_dir.store import File


def is_finished(file: File, key: str, known: Mapping[Coefficients, int]) -> bool:
    """Whether the search of that key finished here, and all that its candidates answered is known.

    Args:
        key: hashes everything that proposals depend on besides the results of these candidates.
        known: how many prompts each candidate that need not be evaluated (again) has answered.
    """
    try:
        content = file.read_object() or {"key": None}
        if content.get("ended_by"):
            return False
        asked = [(tuple(row), prompts) for row, prompts in content["asked"]] if content["key"] == key else None
        return asked is not None and all(known.get(row, 0) >= prompts for row, prompts in asked)
    except (DamagedFile, KeyError, TypeError, ValueError):  # the search is proposed again, and the file replaced
        return False


def note_finished(
    file: File, key: str, proposals: Sequence[Proposal], n_prompts: int, ended_by: str | None = None
) -> None:
    """Keep what a search asked for, in the order of proposal, in place of what an earlier one did.

    Args:
        n_prompts: of the whole split.
        ended_by: why it ended before all of this was evaluated: the next start looks whether it goes on.
    """
    asked = [(row.coefficients, n_prompts if row.prompts is None else len(row.prompts)) for row in proposals]
    file.write_json({"key": key, "asked": asked} | ({"ended_by": ended_by} if ended_by else {}))
