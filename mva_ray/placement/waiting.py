"""Waiting for resources: visibly, and not for ever."""

import sys
import time
from collections.abc import Callable, Sequence

from mva_ray.errors import NoRoom
from mva_ray.placement.capacity import Bundle, Capacity, total


def say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


class Wait:
    """A wait for bundles of resources that may be over and begin again, as where a node is lost.

    Args:
        needed: what is asked for at once.
        look: what there is, and how much of each resource nobody uses.
        limit: seconds that one wait may take.
        say: is told what is missing, once and whenever that changes.
    """

    def __init__(
        self,
        needed: Sequence[Bundle],
        look: Callable[[], tuple[Capacity, Bundle]],
        limit: float,
        say: Callable[[str], None] = say,
    ) -> None:
        self._needed, self._look, self._limit, self._say = list(needed), look, limit, say
        self._since: float | None = None
        self._said = ""

    def goes_on(self) -> None:
        """To be called again and again as long as the resources are not there.

        Raises:
            NoRoom: it has taken longer than the limit.
        """
        self._since = self._since or time.monotonic()
        capacity, free = self._look()
        line = missing(self._needed, capacity, free)
        if time.monotonic() - self._since > self._limit:
            raise NoRoom(
                f"waited {self._limit:g} seconds (resources_timeout) for {line}: ask for less, or see why no more "
                "comes (ray status)"
            )
        if line != self._said:
            self._say(f"waiting for {line}")
        self._said = line

    def is_over(self) -> None:
        """The resources are there."""
        self._since, self._said = None, ""


def missing(needed: Sequence[Bundle], capacity: Capacity, free: Bundle) -> str:
    """As in "2 GPU: the cluster has 0 and may start 4", for each resource of which too little is free.

    Where there is enough of everything, but not on one node, all of them.
    """
    sums = total(needed)
    short = [kind for kind, amount in sums.items() if amount > free.get(kind, 0)] or list(sums)
    return "; ".join(f"{sums[kind]:g} {kind}: {_there_is(kind, capacity, free)}" for kind in short)


def _there_is(kind: str, capacity: Capacity, free: Bundle) -> str:
    there, more = capacity.there(kind), capacity.may_start(kind)
    return (
        f"the cluster has {there:g}"
        + (f" ({free.get(kind, 0):g} of them free)" if there else "")
        + (f" and may start {more:g}" if more else "")
    )
