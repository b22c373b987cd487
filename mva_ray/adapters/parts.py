"""Adapters in parts, by names and hashes alone. Light: imports no torch."""

import hashlib
import re
from collections.abc import Iterable
from dataclasses import replace

from mva_ray.records import AdapterRef, coefficient_names

_LAYER = re.compile(r"(?:^|\.)(\d+)(?:\.|$)")


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


def block_of(module: str, layers: int, blocks: int) -> int:
    """The block, from 0, that a module belongs to: sizes differ by one layer at most.

    Its layer is the first number in its name (`model.layers.7.self_attn.q_proj`, `transformer.h.7.attn.c_attn`).
    Modules of no layer go with the last block, for they come after all layers or act on all of them.
    """
    found = _LAYER.search(module)
    return int(found[1]) * blocks // layers if found else blocks - 1


def _part_hash(sha256: str, index: int, blocks: int) -> str:
    return hashlib.sha256(f"{sha256} block {index} of {blocks}".encode()).hexdigest()
