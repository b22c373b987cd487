"""A group that Ray has removed, as it does with all of a driver whose node it takes for lost. Without Ray running."""

import asyncio
from typing import Any

import pytest

from mva_ray.errors import RunError
from mva_ray.placement import ray_group
from mva_ray.placement.ray_group import Group, Place

SAID = "Ray has lost the driver's node, and what was reserved with it: what was computed is kept, and the same command"


class Removed:
    """A placement group that Ray knows no more."""

    id = None

    def wait(self, seconds: float) -> bool:
        raise Exception("Placement group PlacementGroupID(d4dd) does not exist.")


def test_a_group_that_is_gone_is_said_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    """Both where it is waited for at the start, and where what ended is to be started again."""
    removed: list[Any] = []
    monkeypatch.setattr(ray_group, "placement_group", lambda bundles, strategy: Removed())
    monkeypatch.setattr(ray_group, "remove_placement_group", removed.append)
    with pytest.raises(RunError, match=SAID), Group([{"CPU": 1.0}], limit=60):
        pass
    assert len(removed) == 1
    group: Any = Removed()
    with pytest.raises(RunError, match=SAID):
        asyncio.run(Place({"CPU": 1.0}, {}, group, limit=60).there())
