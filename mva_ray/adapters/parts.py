"""Adapters in parts, by name and hash alone. Light: imports no torch."""

import hashlib
from collections.abc import Iterable
from dataclasses import replace

from mva_ray.records import AdapterRef, coefficient_names


def split_by_block(adapters: Iterable[AdapterRef], blocks: int) -> list[AdapterRef]:
    """Each adapter as `blocks` parts, first block first; each is called after its coefficient and has its own hash."""
    adapters = list(adapters)
    if blocks == 1:
        return adapters
    names = coefficient_names([adapter.value for adapter in adapters], blocks)
    return [
        replace(adapter, value=name, sha256=_part_hash(adapter.sha256, index, blocks), block=(index, blocks))
        for adapter in adapters
        for index, name in enumerate(names[adapter.value])
    ]


def _part_hash(sha256: str, index: int, blocks: int) -> str:
    return hashlib.sha256(f"{sha256} block {index} of {blocks}".encode()).hexdigest()
