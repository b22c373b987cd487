"""A wait is seen, says what is missing whenever that changes, and ends."""

import pytest

from mva_ray.errors import RunError
from mva_ray.placement.capacity import Bundle, Capacity, NodeType
from mva_ray.placement.waiting import Wait, missing

GPU = {"CPU": 4.0, "GPU": 1.0}
GROWING = Capacity(({"CPU": 2.0},), (NodeType(GPU, 4),))


@pytest.mark.parametrize(
    ("needed", "capacity", "free", "line"),
    [
        ([{"GPU": 1}] * 2, GROWING, {"CPU": 2}, "2 GPU: the cluster has 0 and may start 4"),
        ([{"CPU": 2}], Capacity(({"CPU": 3},), None), {"CPU": 1}, "2 CPU: the cluster has 3 (1 of them free)"),
        (
            [{"CPU": 2, "GPU": 1}, {"CPU": 1}],
            Capacity((GPU,), (NodeType(GPU, 4),)),
            {"CPU": 1},
            "3 CPU: the cluster has 4 (1 of them free) and may start 12; "
            "1 GPU: the cluster has 1 (0 of them free) and may start 3",
        ),
        (
            [{"CPU": 3}],
            Capacity(({"CPU": 2}, {"CPU": 2}), ()),
            {"CPU": 4},
            "3 CPU: the cluster has 4 (4 of them free)",
        ),
    ],
)
def test_the_line_names_what_is_missing(needed: list[Bundle], capacity: Capacity, free: Bundle, line: str) -> None:
    assert missing(needed, capacity, free) == line


def test_a_line_is_said_when_it_changes_and_again_in_the_next_wait() -> None:
    said: list[str] = []
    free = {"CPU": 0.0}
    wait = Wait([{"CPU": 2}], lambda: (GROWING, free), 60, said.append)
    for amount in (0.0, 0.0, 1.0, 1.0):
        free["CPU"] = amount
        wait.goes_on()
    assert [line.partition("(")[2][:1] for line in said] == ["0", "1"]
    wait.is_over()
    wait.goes_on()
    assert len(said) == 3


def test_a_wait_has_an_end_that_says_what_is_missing() -> None:
    wait = Wait([{"GPU": 2}], lambda: (GROWING, {}), -1, lambda line: None)
    with pytest.raises(RunError, match=r"\(resources_timeout\) for 2 GPU: the cluster has 0 and may start 4: ask for"):
        wait.goes_on()
