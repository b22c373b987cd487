"""Keeps evaluations for good, many in one call."""

import asyncio
from collections.abc import Callable, Sequence

from mva_ray.records import Evaluation

Record = Callable[[Sequence[Evaluation]], None]
"""Keeps evaluations for good; they are there when it returns."""


class Recorder:
    """Records in one call all that became ready while the last one was written; what failed is tried by the next."""

    def __init__(self, record: Record) -> None:
        self._record = record
        self._ready: list[Evaluation] = []
        self._writing = asyncio.Lock()

    async def record(self, evaluation: Evaluation) -> None:
        """Returns when the evaluation is kept."""
        self._ready.append(evaluation)
        async with self._writing:
            ready = list(self._ready)
            if ready:
                await asyncio.to_thread(self._record, ready)
                del self._ready[: len(ready)]
