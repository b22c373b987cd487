"""What is begun is little, in order, and ended with whoever asked for it."""

import asyncio
from functools import partial

import pytest

from mva_ray.evaluation.in_order import in_order


def test_results_come_in_order_and_few_calls_are_at_work() -> None:
    """Each call ends before the one that was begun before it; a result that was not taken yet counts as at work."""
    begun: list[int] = []

    async def call(number: int) -> int:
        begun.append(number)
        await asyncio.sleep(0.02 if number % 3 == 0 else 0)
        return number

    taken = []
    for number in in_order((partial(call, number) for number in range(10)), at_once=3):
        taken.append(number)
        assert begun == sorted(begun)
        assert len(begun) <= len(taken) + 2
    assert taken == list(range(10))


def test_what_nobody_waits_for_is_cancelled() -> None:
    cancelled: list[int] = []

    async def call(number: int) -> int:
        try:
            await asyncio.sleep(0 if number == 0 else 60)
        except asyncio.CancelledError:
            cancelled.append(number)
            raise
        return number

    async def fails(number: int) -> int:
        raise ValueError("no")

    results = in_order((partial(call, number) for number in range(4)), at_once=3)
    assert next(results) == 0
    results.close()
    assert cancelled == [1, 2]
    with pytest.raises(ValueError, match="no"):
        list(in_order([partial(fails, 0), partial(call, 5)], at_once=2))
    assert cancelled == [1, 2, 5]
