"""What there is to run on, and what may be started besides."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

Bundle = Mapping[str, float]
"""Amounts by resource, such as {"CPU": 2, "GPU": 1}: what a node has, or what one process reserves on one node."""

Reserving = Callable[[Sequence[Bundle]], AbstractContextManager[object]]
"""A context for as long as bundles are reserved, such as one that counts what they cost."""


def unmetered(bundles: Sequence[Bundle]) -> AbstractContextManager[object]:
    """Counts nothing."""
    return nullcontext()


@dataclass(frozen=True)
class NodeType:
    """A kind of node that the autoscaler may start `most` of, those that run already included."""

    resources: Bundle
    most: int


@dataclass(frozen=True)
class Capacity:
    """The nodes that there are, and the kinds that may be started: None where nobody here knows of them."""

    nodes: tuple[Bundle, ...]
    types: tuple[NodeType, ...] | None = ()

    def there(self, kind: str) -> float:
        return sum(node.get(kind, 0) for node in self.nodes)

    def may_start(self, kind: str) -> float:
        """How much more, as far as is known."""
        most = sum(each.most * each.resources.get(kind, 0) for each in self.types or ())
        return max(0.0, most - self._of_types(kind))

    def possible(self, kind: str) -> float:
        return self.there(kind) + self.may_start(kind)

    def fits(self, bundle: Bundle) -> bool:
        """Whether a node that is empty, there or yet to be started, has room for it."""
        nodes = [*self.nodes, *(each.resources for each in self.types or () if each.most)]
        return any(all(amount <= node.get(kind, 0) for kind, amount in bundle.items()) for node in nodes)

    def describe(self, kind: str) -> str:
        """As in "2 GPU (4 more may be started)"."""
        more = self.may_start(kind)
        return f"{self.there(kind):g} {kind}" + (f" ({more:g} more may be started)" if more else "")

    def _of_types(self, kind: str) -> float:
        """What is there on nodes of the kinds that may be started: those that have exactly its resources."""
        own = [{name: each.resources.get(name, 0) for name in ("CPU", "GPU")} for each in self.types or ()]
        alike = (node for node in self.nodes if {name: node.get(name, 0) for name in ("CPU", "GPU")} in own)
        return sum(node.get(kind, 0) for node in alike)


def types_of(cluster: Mapping[str, Any]) -> tuple[NodeType, ...]:
    """The kinds of nodes in the config that `ray up` gives to a cluster's head, with the resources that it filled in.

    The head is there already; no more than `max_workers` run besides it.
    """
    limit = cluster.get("max_workers", 2)
    workers = (kind for name, kind in cluster["available_node_types"].items() if name != cluster.get("head_node_type"))
    return tuple(NodeType(kind.get("resources") or {}, min(limit, kind.get("max_workers", limit))) for kind in workers)


def read_types(path: Path) -> tuple[NodeType, ...] | None:
    """The same from that file; None where it is not there or not what is expected: Ray gives no promise about it.

    Nor of kinds without resources, such as hosts that were listed by their addresses: those that are still to join are
    known when they are there.
    """
    import yaml

    try:
        types = types_of(yaml.safe_load(path.read_text(encoding="utf-8")))
        return types if all(kind.resources for kind in types) else None
    except (OSError, UnicodeError, yaml.YAMLError, AttributeError, KeyError, TypeError):
        return None


def total(bundles: Iterable[Bundle]) -> dict[str, float]:
    """The sum by resource, to four decimals: Ray counts no finer."""
    sums: dict[str, float] = {}
    for bundle in bundles:
        for kind, amount in bundle.items():
            sums[kind] = round(sums.get(kind, 0) + amount, 4)
    return sums
