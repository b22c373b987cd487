"""The factors of adapters that are trained at the same time, each on a worker of its own."""

import asyncio
from collections import defaultdict
from typing import Any

import ray
import torch
from ray.actor import ActorHandle

from mva_ray.adapters.lora import LoraFactors
from mva_ray.config.training import Training
from mva_ray.placement.ray_group import beside_driver
from mva_ray.training.live_penalty import Exchange


def version_at(step: int, training: Training) -> int:
    """Which of the others' versions an adapter is penalised against at a step; version s is there after s steps.

    It depends on the step alone, so no result depends on who is fast. After a checkpoint none from before it is
    needed, so a training that resumes there finds all it needs.
    """
    return max(step - training.max_staleness, step - step % training.checkpoint_steps)


class FactorBoard:
    """What every adapter has published, by name and version: in the object store, owned by the board.

    An object dies with its owner, and workers come and go. Those that start again publish again what is needed: a
    worker that found the others' versions from before a kill would run ahead of them, and drop its own that they need.
    """

    def __init__(self) -> None:
        self._versions: dict[str, dict[int, ray.ObjectRef]] = defaultdict(dict)
        self._news = asyncio.Condition()

    async def clear(self) -> None:
        """Forget all: workers that start again would run ahead of each other on versions from before their start."""
        async with self._news:
            self._versions.clear()

    async def publish(self, name: str, version: int, factors: dict[str, Any], keep: int) -> None:
        """Add a version; of this adapter, the `keep` before it stay."""
        async with self._news:
            known = self._versions[name]
            self._versions[name] = {old: ref for old, ref in known.items() if version - keep <= old < version}
            self._versions[name][version] = ray.put(factors)
            self._news.notify_all()

    async def read(self, names: list[str], version: int) -> list[ray.ObjectRef]:
        """That version of all these adapters, as soon as all are there."""
        async with self._news:
            await self._news.wait_for(lambda: all(version in self._versions[name] for name in names))
            return [self._versions[name][version] for name in names]


def start_board() -> ActorHandle:
    """A board beside the driver."""
    return ray.remote(FactorBoard).options(**beside_driver()).remote()


def exchange_on(board: ActorHandle, name: str, others: list[str], training: Training) -> Exchange:
    """The exchange of one adapter with the others through a board."""

    def exchange(step: int, factors: LoraFactors) -> tuple[list[LoraFactors], int]:
        ray.get(board.publish.remote(name, step, _to_arrays(factors), 2 * training.max_staleness + 1))
        version = version_at(step, training)
        read = ray.get(ray.get(board.read.remote(others, version)))
        return [_from_arrays(arrays) for arrays in read], step - version

    return exchange


def _to_arrays(factors: LoraFactors) -> dict[str, Any]:
    a, b = (
        {module: matrix.detach().float().cpu().numpy() for module, matrix in matrices.items()}
        for matrices in (factors.a, factors.b)
    )
    return {"a": a, "b": b, "scaling": factors.scaling}


def _from_arrays(arrays: dict[str, Any]) -> LoraFactors:
    a, b = ({module: torch.tensor(array) for module, array in arrays[name].items()} for name in "ab")
    return LoraFactors(a, b, arrays["scaling"])
