"""What one adapter's training depends on, and which jobs are left after a kill."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from mva_ray.config.training import Training
from mva_ray.records import PreferencePair
from mva_ray.run_dir.files import publish
from mva_ray.training.job import TrainingJob, against_finished, jobs_key

PAIR = PreferencePair("Why?", "Because.", "No.")


def job(output: Path, **changes: Any) -> TrainingJob:
    return replace(TrainingJob(output.name, "base", None, (PAIR,), (), Training(), 0, str(output)), **changes)


def test_outputs_that_a_kill_left_are_frozen_for_those_that_are_trained_anew(tmp_path: Path) -> None:
    """All are published together: a kill between two of them leaves some finished."""
    brought = str(tmp_path / "brought")
    jobs = [job(tmp_path / name, earlier=(brought,)) for name in "abc"]
    assert against_finished(jobs) == jobs
    (tmp_path / "b").mkdir()
    left = against_finished(jobs)
    assert [each.name for each in left] == ["a", "c"]
    assert all(each.earlier == (brought, str(tmp_path / "b")) for each in left)


def test_what_grows_is_not_what_is_done(tmp_path: Path) -> None:
    growing, done = job(tmp_path / "growing"), job(tmp_path / "done")
    growing.partial.mkdir()
    done.partial.mkdir()
    publish(done.partial, Path(done.output))
    assert [growing.is_done, done.is_done] == [False, True]


def test_checkpoints_of_earlier_versions_are_found(tmp_path: Path) -> None:
    """Pairs whose ids are not known have the key that they had before ids were kept."""
    dialogue = PreferencePair((("user", "Hi"),), "a", "b", True, False, 1.0, 0.5, 2.0, 0.1)
    pairs = (PreferencePair("Why?", "Because.", "No."), dialogue)
    one = TrainingJob("one", "base", None, pairs, (), Training(), 0, "out")
    assert jobs_key([one]) == "9a912df29754"
    known = replace(dialogue, chosen_ids=(1, 2), rejected_ids=(3,))
    assert jobs_key([replace(one, pairs=(pairs[0], known))]) != jobs_key([one])


@pytest.mark.parametrize(
    "changes",
    [
        {"base_model": "other"},
        {"system_prompt": ""},
        {"pairs": (replace(PAIR, chosen="So."),)},
        {"pairs": (PAIR, PAIR)},
        {"earlier": ("a",)},
        {"training": Training(steps=25)},
        {"seed": 1},
        {"start": "a"},
        {"output": "elsewhere"},
    ],
)
def test_a_checkpoint_is_of_exactly_these_jobs(tmp_path: Path, changes: dict[str, Any]) -> None:
    one = job(tmp_path / "one")
    assert jobs_key([replace(one, **changes)]) != jobs_key([one]) == jobs_key([job(tmp_path / "one")])
    assert jobs_key([one, one]) != jobs_key([one])
