"""What is said of a config that has changed."""

import pytest

from mva_ray.plan.changes import changed_settings


def test_a_line_for_each_setting_that_differs_at_any_depth() -> None:
    before = {"seed": 0, "search": {"candidates": 10, "method": "nsga2"}, "gone": 1}
    after = {"seed": 0, "search": {"candidates": 12, "method": "nsga2"}, "new": [1]}
    assert changed_settings(before, after) == ["gone: 1 -> null", "new: null -> [1]", "search.candidates: 10 -> 12"]


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("/jobs/1/train.jsonl", "/jobs/2/train.jsonl", False),
        ("/jobs/1/train.jsonl", "/jobs/1/other.jsonl", True),
        ("org/model", "other/model", True),
        ("/jobs/1/model", "org/model", True),
        ("/jobs/1/model", None, True),
    ],
)
def test_a_file_that_moved_with_its_name_is_no_change(old: str, new: str | None, said: bool) -> None:
    """A job of a cluster has a directory of its own."""
    assert bool(changed_settings({"path": old}, {"path": new})) == said
