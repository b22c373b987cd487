"""The decoding step: logits of the next token of every row at work. On a GPU it is recorded once and launched whole.

A step of a model of 32 layers is some 2,000 kernels, which take longer to launch one by one than to run. Tokens,
positions and coefficients are inputs of a recording, so one of a shape serves whatever candidates are at work.
"""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TypeAlias

import torch
from torch import Tensor

from mva_ray.adapters.blend import BlendedModel
from mva_ray.evaluation.row_cache import KEYS_STEP, NextTokens, RowCache, keys_length, round_up

log = logging.getLogger(__name__)

FILL = 16
"""Matrix products of other numbers of rows may be summed in another order: passes are filled up to a multiple."""

_ROUNDING = 0.25

Compute: TypeAlias = Callable[[], Tensor]
Record: TypeAlias = Callable[[Compute], tuple[Callable[[], object], Tensor]]
"""Records what a function computes: how to run it again, and where its result then is."""


class CudaGraphs:
    """A `Record` of CUDA graphs, which share the memory that they compute in."""

    def __init__(self) -> None:
        self._pool = torch.cuda.graph_pool_handle()

    def __call__(self, compute: Compute) -> tuple[Callable[[], object], Tensor]:
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, pool=self._pool):
            result = compute()
        return graph.replay, result


@dataclass(frozen=True)
class _Inputs:
    """Tokens and their positions [2, rows], coefficients [rows, n]."""

    tokens: Tensor
    coefficients: Tensor


@dataclass(frozen=True)
class _Recording:
    inputs: _Inputs
    replay: Callable[[], object]
    result: Tensor

    def logits(self, inputs: _Inputs) -> Tensor:
        self.inputs.tokens.copy_(inputs.tokens)
        self.inputs.coefficients.copy_(inputs.coefficients)
        self.replay()
        return self.result


class Decoding:
    """Decoding steps of a blended model over a cache, whose rows lie in the slots from 0 on. Not thread-safe.

    Args:
        record: records steps; None to compute each anew.
    """

    def __init__(self, blend: BlendedModel, cache: RowCache, record: Record | None) -> None:
        self._blend = blend
        self._cache = cache
        self._record = record
        self._recordings: dict[tuple[int, int], _Recording] = {}
        self._moves = cache.moves

    def rows(self, number: int) -> int:
        """How many rows to compute where so many are at work."""
        return _few(number, FILL, self._cache.slots) if self._record else round_up(number, FILL)

    def logits(
        self, tokens: Sequence[int], positions: Sequence[int], coefficients: Sequence[Sequence[float]]
    ) -> Tensor:
        """[rows, vocabulary] of the token that follows in each row; valid until the next call.

        Args:
            tokens: the last one of each row, as many as `rows` says.
            positions: of these tokens.
            coefficients: of each row, one for each adapter.
        """
        device, needed = self._blend.model.device, max(positions) + 1
        inputs = _Inputs(torch.tensor([tokens, positions], device=device), torch.tensor(coefficients, device=device))
        if self._record is None:
            return self._compute(inputs.tokens, inputs.coefficients, keys_length(needed))
        return self._recorded(self._record, inputs, _few(needed, KEYS_STEP, self._cache.length))

    def _compute(self, tokens: Tensor, coefficients: Tensor, length: int) -> Tensor:
        new = NextTokens(tokens[1], length)
        with self._blend.coefficients(coefficients[None], new.rows):
            return self._cache.forward(tokens[0], new, new.rows)

    def _recorded(self, record: Record, inputs: _Inputs, length: int) -> Tensor:
        if self._moves != self._cache.moves:
            self._recordings, self._moves = {}, self._cache.moves
        shape = len(inputs.coefficients), length
        if shape in self._recordings:
            return self._recordings[shape].logits(inputs)
        compute = partial(self._compute, inputs.tokens, inputs.coefficients, length)
        computed = compute()
        try:
            recording = _Recording(inputs, *record(compute))
            if not _same(recording.logits(inputs), computed):
                raise RuntimeError("what is recorded computes other logits")
        except torch.OutOfMemoryError:
            raise
        except RuntimeError as error:  # such as code of the model that waits for numbers of the GPU
            log.warning("decoding without recordings, which is slower: %s", error)
            self._record = None
        else:
            self._recordings[shape] = recording
        return computed


def _same(found: Tensor, expected: Tensor) -> bool:
    """But for rounding, which moves logits of 8 bits by a tenth of their spread; what is wrong moves them by all of it.

    Rows of which nothing is finite are equal.
    """
    found, expected = found.float().nan_to_num(0, 0, 0), expected.float().nan_to_num(0, 0, 0)
    return bool((found - expected).square().mean().sqrt() <= _ROUNDING * expected.std(-1).mean())


def _few(number: int, step: int, most: int) -> int:
    """At least this number, one of four an octave so that there are few, a multiple of `step`; `most` is enough."""
    step = max(step, (1 << (number - 1).bit_length()) // 4)
    return min(round_up(number, step), most - most % FILL)
