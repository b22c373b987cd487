"""The way to a front: nothing falls, less and less is in reach, and it ends at a member."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mva_ray.maths.nautilus import reachable, representatives, stepped
from tests.maths.test_choice import BENT_IN, Rewards, fronts


def test_a_step_by_hand() -> None:
    assert stepped([0, 0], [2, 10], 4).tolist() == [0.5, 2.5]
    assert stepped([0.5, 2.5], [2, 10], 1).tolist() == [2, 10]
    with pytest.raises(ValueError, match="nowhere below"):
        stepped([0, 0], [2, -1], 2)
    with pytest.raises(ValueError, match="while steps are left"):
        stepped([0, 0], [2, 1], 0)


def test_what_is_in_reach_by_hand() -> None:
    assert reachable(BENT_IN, [0, 0]) == [0, 1, 2, 3]
    assert reachable(BENT_IN, [1, 2]) == [1, 2]
    assert reachable(BENT_IN, [3, 3]) == []


def test_two_heaps_have_a_member_in_the_middle_each() -> None:
    heaps = [[0.0, 10.0], [0.1, 9.9], [0.2, 9.8], [9.8, 0.2], [9.9, 0.1], [10.0, 0.0]]
    assert representatives(heaps, 2) == [1, 4]


@given(fronts(), st.integers(1, 5))
def test_representatives_are_some_of_the_rows(front: Rewards, most: int) -> None:
    found = representatives(front, most)
    assert found == sorted(set(found))
    assert 1 <= len(found) <= most
    assert found == representatives(front, most)
    if len(front) <= most:
        assert len(found) == len(front)


@given(fronts(), st.integers(1, 7), st.data())
@settings(max_examples=80, deadline=None)
def test_a_way_loses_nothing_and_ends_at_a_member(front: Rewards, of: int, data: st.DataObject) -> None:
    """Whatever is chosen of what is in reach, offered or not."""
    here, before = front.min(axis=0), list(range(len(front)))
    for left in range(of, 0, -1):
        there = reachable(front, here)
        assert set(there) <= set(before)
        offered = [there[row] for row in representatives(front[there], 4)]
        row = data.draw(st.sampled_from(offered + there))
        step = stepped(here, front[row], left)
        assert (step >= here).all()
        assert (step > here)[front[row] > here].all()
        assert row in reachable(front, step)
        here, before = step, there
    assert (front == here).all(axis=1).any()


@given(fronts(), st.integers(1, 7), st.data())
@settings(max_examples=40, deadline=None)
def test_every_member_is_at_the_end_of_a_way(front: Rewards, of: int, data: st.DataObject) -> None:
    """Of the one that always goes towards it."""
    member = data.draw(st.integers(0, len(front) - 1))
    here = front.min(axis=0)
    for left in range(of, 0, -1):
        assert member in reachable(front, here)
        here = stepped(here, front[member], left)
    assert np.array_equal(here, front[member])
