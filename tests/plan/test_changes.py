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


def test_entries_of_a_list_are_told_apart() -> None:
    """The values of a config are a list, with files in it."""
    before = {"values": [{"pairs": "/jobs/1/a.jsonl", "margin": 0}, {"pairs": "/jobs/1/b.jsonl", "margin": 0}]}
    after = {"values": [{"pairs": "/jobs/2/a.jsonl", "margin": 0}, {"pairs": "/jobs/2/b.jsonl", "margin": 1}]}
    assert changed_settings(before, after) == ["values[1].margin: 0 -> 1"]
    assert changed_settings({"bounds": [0, 1]}, {"bounds": [0, 1, 2]}) == ["bounds: [0, 1] -> [0, 1, 2]"]
    assert changed_settings({"bounds": [0, 1]}, {"bounds": [0, 2]}) == ["bounds[1]: 1 -> 2"]
