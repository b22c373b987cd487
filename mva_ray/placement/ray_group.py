"""Where processes run: beside the driver, or in one placement group with those that work together."""

import asyncio
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

from ray.exceptions import RayError
from ray.util.placement_group import PlacementGroup, placement_group, placement_group_table, remove_placement_group
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy, PlacementGroupSchedulingStrategy

from mva_ray.errors import GOES_ON, NoRoom, RunError
from mva_ray.placement.capacity import Bundle, Reserving, unmetered
from mva_ray.placement.ray_cluster import capacity_now, free_now, own_node
from mva_ray.placement.waiting import Wait

POLL_S = 1.0
WAITING = ("PENDING", "RESCHEDULING")


def beside_driver() -> dict[str, Any]:
    """Options of an actor that holds state and computes nothing: it belongs where the driver is, on no other's disk.

    To be called by the driver. Ray would place an actor without CPUs anywhere.
    """
    return {"num_cpus": 0, "scheduling_strategy": NodeAffinitySchedulingStrategy(own_node(), soft=False)}


def wait_for(needed: Sequence[Bundle], limit: float) -> Wait:
    return Wait(needed, lambda: (capacity_now(), free_now()), limit)


def is_pending(bundles: Sequence[Bundle]) -> bool:
    """Whether a placement group of just these waits anywhere in the cluster, as one that Ray Train has made."""
    groups = placement_group_table().values()
    return any(group["state"] in WAITING and list(group["bundles"].values()) == list(bundles) for group in groups)


def _is_placed(group: PlacementGroup) -> bool:
    """Whether every bundle has a node, within `POLL_S` seconds."""
    try:
        return bool(group.wait(POLL_S))
    except Exception as error:  # Ray has no class for a group that it has removed
        raise RunError(f"Ray has lost the driver's node, and what was reserved with it: {GOES_ON}") from error


@dataclass(frozen=True)
class Place:
    """A bundle of a group: what an actor reserves, and where; without a group, beside the driver."""

    bundle: Bundle
    options: dict[str, Any]
    group: PlacementGroup | None = None
    limit: float = 0.0

    async def there(self) -> None:
        """Return where the bundle is on a node; that of a node that was lost is looked for elsewhere by Ray.

        Raises:
            NoRoom: none was found within the limit.
            RunError: there is no group any more.
        """
        since = time.monotonic()
        while self.group is not None and not await asyncio.to_thread(_is_placed, self.group):
            if time.monotonic() - since > self.limit:
                raise NoRoom(f"waited {self.limit:g} seconds (resources_timeout) for another node")


class Group:
    """A placement group of all bundles, or of none: two that want more than there is wait for each other whole.

    As long as the context lasts, a thread says what is missing where a node was lost.

    Args:
        bundles: one a process; what reserves nothing goes beside the driver.
        limit: seconds to wait for it.
        reserving: entered when all of it is placed, for as long as the group lasts.
    """

    def __init__(self, bundles: Sequence[Bundle], limit: float, reserving: Reserving = unmetered) -> None:
        self._limit = limit
        self._reserved = reserving(bundles)
        self._bundles = list(bundles)
        self._wait = wait_for([each for each in bundles if each], limit)
        self._done = threading.Event()
        self._watch = threading.Thread(target=self._say_what_is_missing, daemon=True)

    def __enter__(self) -> Self:
        """
        Raises:
            NoRoom: it took longer than the limit.
            RunError: there is no group any more.
        """
        reserved = [dict(each) for each in self._bundles if each]
        self._group = placement_group(reserved, strategy="PACK") if reserved else None
        try:
            while self._group and not _is_placed(self._group):
                self._wait.goes_on()
        except BaseException:
            self._remove()
            raise
        self._wait.is_over()
        self._reserved.__enter__()
        self._watch.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._done.set()
        self._watch.join()
        self._remove()
        self._reserved.__exit__(kind, error, trace)

    @property
    def places(self) -> list[Place]:
        """One a bundle, in their order."""
        indices = iter(range(len(self._bundles)))
        return [self._place(each, next(indices)) if each else Place({}, beside_driver()) for each in self._bundles]

    def _place(self, bundle: Bundle, index: int) -> Place:
        assert self._group is not None
        strategy = PlacementGroupSchedulingStrategy(self._group, placement_group_bundle_index=index)
        options = {"num_cpus": bundle.get("CPU", 0), "num_gpus": bundle.get("GPU", 0), "scheduling_strategy": strategy}
        return Place(bundle, options, self._group, self._limit)

    def _say_what_is_missing(self) -> None:
        while self._group and not self._done.wait(POLL_S):
            if placement_group_table(self._group).get("state") not in WAITING:
                self._wait.is_over()
            else:
                with suppress(NoRoom, RayError):  # who waits for the place raises it
                    self._wait.goes_on()

    def _remove(self) -> None:
        if self._group:
            remove_placement_group(self._group)
