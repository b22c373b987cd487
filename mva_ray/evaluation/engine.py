"""Decoding of many rows, each with its own coefficients: continuous batching over a static key-value cache.

Rows that finish leave the batch and waiting rows take their place, whatever candidate and prompt they belong to. What a
row says depends on its own request alone: greedy rows take the likeliest token, sampled ones have random numbers of
their own, and every forward pass is of a shape in which no row's arithmetic depends on the others.
"""

import time
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import takewhile

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import pad

from mva_ray.adapters.blend import BlendedModel
from mva_ray.evaluation.decoding import FILL, CudaGraphs, Decoding
from mva_ray.evaluation.row_cache import NewTokens, RowCache
from mva_ray.evaluation.row_limit import RowLimit
from mva_ray.evaluation.stall import progress

_FEW = 256
"""Likeliest tokens among which a sampled one is looked for first."""

CANCELLED = "cancelled"

_WORTH_SHARING = 8
"""Tokens that prompts of a candidate must have in common at their beginning, as a chat template and a system prompt."""


@dataclass(frozen=True)
class Draw:
    """How a row samples, with random numbers from `seed` alone.

    Among the `top_k` likeliest tokens (0: all), and of these among the fewest whose probabilities sum to `top_p`.
    """

    seed: tuple[int, ...]
    temperature: float
    top_k: int = 0
    top_p: float = 1.0


@dataclass(frozen=True)
class Request:
    """A prompt's token ids and the candidate's coefficients. Greedy where `draw` is None.

    With `scored` > 0 nothing is generated: the log-probabilities of that many last tokens are asked for. An answer is
    cut off at `max_new_tokens`, or where the engine does. With `alternatives`, that many likeliest tokens are told
    beside each token, and its log-probability too; None for neither.
    """

    tokens: tuple[int, ...]
    coefficients: tuple[float, ...]
    draw: Draw | None = None
    scored: int = 0
    max_new_tokens: int | None = None
    alternatives: int | None = None


@dataclass(eq=False)
class Row:
    """A request at work: `answer` are new token ids, the end token included.

    `log_probabilities` (nats, before any temperature) and `alternatives` (token and log-probability, likeliest first)
    are those asked for. `seconds` is its share of the engine's work: each step counts for its rows alike.
    """

    request: Request
    answer: list[int] = field(default_factory=list)
    log_probabilities: list[float] = field(default_factory=list)
    alternatives: list[list[tuple[int, float]]] = field(default_factory=list)
    failure: str | None = None
    done: bool = False
    computed: int = 0
    seconds: float = 0.0

    def __post_init__(self) -> None:
        self.restart()

    def restart(self) -> None:
        """Back to the beginning, with the same random numbers."""
        self.answer, self.log_probabilities, self.alternatives, self.computed = [], [], [], 0
        draw = self.request.draw
        self.random = np.random.Generator(np.random.Philox(np.random.SeedSequence(draw.seed))) if draw else None

    def tokens(self, start: int, stop: int) -> list[int]:
        prompt = self.request.tokens
        return [*prompt[start:stop], *self.answer[max(0, start - len(prompt)) : max(0, stop - len(prompt))]]

    def wanted(self, start: int, stop: int) -> range:
        """Positions in [start, stop) whose logits are needed: before each scored token, or the last of all."""
        length = len(self.request.tokens) + len(self.answer)
        first, end = (length - self.request.scored - 1, length - 1) if self.request.scored else (length - 1, length)
        return range(max(start, first), min(stop, end))


@dataclass(frozen=True)
class _Family:
    """Rows of one candidate whose first `shared` tokens are the same."""

    rows: Sequence[Row]
    shared: int


class Engine:
    """Answers requests; not thread-safe.

    Args:
        blend: the model, whose attention is replaced.
        end_tokens: token ids that end an answer.
        max_new_tokens: an answer is cut off here.
        limit: how many rows are decoded at once; halved where memory runs out.
        longest: positions that the model has, None for no limit.
        token_budget: prompt tokens of one forward pass; longer prompts are computed in pieces.

    Raises:
        Unfit: the architecture does not let its attention be replaced.
    """

    def __init__(
        self,
        blend: BlendedModel,
        end_tokens: Iterable[int],
        max_new_tokens: int,
        limit: RowLimit,
        longest: int | None = None,
        token_budget: int = 1024,
    ) -> None:
        self._blend = blend
        self._device = blend.model.device
        self._vocabulary = blend.model.get_input_embeddings().num_embeddings
        self._end_tokens = frozenset(end_tokens)
        self._max_new_tokens = max_new_tokens
        self._longest = longest
        self._budget = token_budget + -token_budget % FILL
        self._cache = RowCache(blend.model, blend.products)
        self._decoding = Decoding(blend, self._cache, CudaGraphs() if self._device.type == "cuda" else None)
        self._waiting: deque[Row] = deque()
        self._active: list[Row] = []
        self._suspects: list[list[Row]] = []
        self._limit = limit

    def submit(self, requests: Iterable[Request]) -> list[Row]:
        """Queue requests, the longest first; their rows, in the order of the requests.

        A request that the model has no positions or embeddings for, or nothing to go on from, is done at once, and
        failed.
        """
        rows = [Row(request) for request in requests]
        for row in rows:
            row.failure = self._refusal(row.request)
            row.done = row.failure is not None
        queued = (row for row in rows if not row.done)
        self._waiting.extend(sorted(queued, key=lambda row: -len(row.request.tokens)))
        return rows

    def _refusal(self, request: Request) -> str | None:
        if len(request.tokens) <= request.scored:
            return "the prompt has no tokens"
        needed = len(request.tokens) + self._new_tokens(request)
        if self._longest is not None and needed > self._longest:
            return f"prompt and answer may take {needed} tokens, the model has {self._longest} positions"
        if (highest := max(request.tokens)) >= self._vocabulary:
            return f"the prompt has token {highest}, the model has embeddings of {self._vocabulary}"
        return None

    def _new_tokens(self, request: Request) -> int:
        if request.scored:
            return 0
        return self._max_new_tokens if request.max_new_tokens is None else request.max_new_tokens

    @torch.inference_mode()
    def cancel(self, rows: Iterable[Row]) -> None:
        """Give up rows that are not done, at work or not; what they have said stays."""
        for row in rows:
            if not row.done:
                row.failure = CANCELLED
        for row in self._waiting:
            row.done = row.failure is not None
        self._waiting = deque(row for row in self._waiting if not row.done)
        self._release()

    @property
    def rows(self) -> int:
        """How many it is answering."""
        return len(self._active)

    @property
    def busy(self) -> bool:
        return bool(self._waiting or self._active or self._suspects)

    @torch.inference_mode()
    def step(self) -> None:
        """Let rows in where there is room, else decode one token of every active row.

        Where that raises, the rows at work start again, half of them at a time and so on, until the one is found that
        it fails over alone. Where memory runs out, fewer start again.
        """
        started = time.perf_counter()
        try:
            if self._should_admit():
                self._admit()
            elif self._active:
                self._decode()
        except Exception as error:  # whatever a model raises, the rows that wait are still to be answered
            if _out_of_memory(error) and self._limit.rows > 1:
                self._halve()
            elif len(self._active) > 1:
                self._suspect()
            else:
                for row in self._active:
                    row.failure = f"{type(error).__name__}: {error}"
        for row in self._active:
            row.seconds += (time.perf_counter() - started) / len(self._active)
        self._release()

    def answer(self, requests: Iterable[Request]) -> list[Row]:
        """Rows of all requests, done."""
        rows = self.submit(requests)
        while self.busy:
            self.step()
        return rows

    @torch.inference_mode()
    def logits(self, requests: Sequence[Request], passes: Iterable[Sequence[int]]) -> list[Tensor]:
        """The logits that requests are scored by, [scored, vocabulary] each; for tests of the model at hand.

        Args:
            requests: as many as rows fit.
            passes: how many tokens of each request a forward pass computes.
        """
        rows = [Row(request) for request in requests]
        found: dict[Row, list[Tensor]] = {row: [] for row in rows}
        self._cache.reserve(len(rows) + FILL, max(len(request.tokens) for request in requests))
        for counts in passes:
            logits, wanted = self._forward(0, rows, counts)
            for (row, _), of_token in zip(wanted, logits, strict=False):
                found[row].append(of_token)
        self._cache.clear()
        return [torch.stack(found[row]) for row in rows]

    def _should_admit(self) -> bool:
        if self._suspects:
            return not self._active
        free = self._limit.rows - len(self._active)
        return bool(self._waiting) and free >= min(len(self._waiting), max(1, self._limit.rows // 8))

    def _admit(self) -> None:
        """Let rows in and compute their prompts; what those of one candidate begin with is computed once."""
        first = len(self._active)
        entering = self._suspects.pop() if self._suspects else self._next(self._limit.rows - first)
        families, alone = _families(entering)
        self._active += [family.rows[0] for family in families]
        self._active += [row for family in families for row in family.rows[1:]] + alone
        longest = max(len(row.request.tokens) + self._new_tokens(row.request) for row in entering)
        self._cache.reserve(self._limit.rows + FILL, longest)
        self._prefill(first, [family.shared for family in families])
        self._share(first, families)
        self._prefill(first, [len(row.request.tokens) for row in self._active[first:]])

    def _next(self, most: int) -> list[Row]:
        return [self._waiting.popleft() for _ in range(min(len(self._waiting), most))]

    def _prefill(self, first: int, ends: Sequence[int]) -> None:
        """Compute the rows from slot `first` on up to a position of each, in passes that keep to the budget."""
        done = 0
        while done < len(ends):
            counts: list[int] = []
            for row, end in zip(self._active[first + done :], ends[done:], strict=False):
                if left := self._budget - sum(counts):
                    counts.append(min(end - row.computed, left))
            rows = self._active[first + done : first + done + len(counts)]
            self._take(*self._forward(first + done, rows, counts))
            done += sum(row.computed >= end for row, end in zip(rows, ends[done:], strict=False))

    def _share(self, first: int, families: Sequence["_Family"]) -> None:
        """Give the other rows of each family what its first one has computed."""
        target = first + len(families)
        for source, family in enumerate(families, start=first):
            others = family.rows[1:]
            self._cache.copy(source, slice(target, target + len(others)), family.shared)
            target += len(others)
            for row in others:
                row.computed = family.shared

    def _decode(self) -> None:
        """The next token of every active row, which is in the slot of its place."""
        progress()
        started, rows = time.perf_counter(), self._active
        fill = [0] * (self._decoding.rows(len(rows)) - len(rows))
        tokens = [row.tokens(row.computed, row.computed + 1)[0] for row in rows]
        logits = self._decoding.logits(
            [*tokens, *fill],
            [*(row.computed for row in rows), *fill],
            [*(row.request.coefficients for row in rows), *[(0.0,) * self._blend.n_adapters] * len(fill)],
        )
        wanted = [(row, row.computed) for row in rows]
        for row in rows:
            row.computed += 1
        self._take(logits, wanted)
        self._limit.observe(len(rows), time.perf_counter() - started)

    def _forward(self, first: int, rows: Sequence[Row], counts: Sequence[int]) -> tuple[Tensor, list[tuple[Row, int]]]:
        """Compute the next `counts` tokens of rows in neighbouring slots.

        Returns:
            logits [at least as many as are wanted, vocabulary], and which row and position they are for.
        """
        progress()
        fill = -sum(counts) % FILL
        starts = [row.computed for row in rows]
        new = NewTokens(first, starts + [0] * fill, [*counts, *[1] * fill], self._device)
        tokens: list[int] = []
        wanted: list[tuple[Row, int, int]] = []
        for row, start, number in zip(rows, starts, counts, strict=True):
            wanted += [(row, at, len(tokens) + at - start) for at in row.wanted(start, start + number)]
            tokens += row.tokens(start, start + number)
        at_all = [place for _, _, place in wanted]
        places = torch.tensor(at_all + at_all[:1] * (-len(at_all) % FILL), dtype=torch.long, device=self._device)
        coefficients = torch.tensor([row.request.coefficients for row in rows] or [()], device=self._device)
        per_token = coefficients[new.rows[: len(tokens)]]
        with self._blend.coefficients(pad(per_token, (0, 0, 0, fill))[None], places):
            logits = self._cache.forward(torch.tensor(tokens + [0] * fill, device=self._device), new, places)
        for row, number in zip(rows, counts, strict=True):
            row.computed += number
        return logits, [(row, at) for row, at, _ in wanted]

    def _take(self, logits: Tensor, wanted: Sequence[tuple[Row, int]]) -> None:
        """Append the next token of each row that generates, the log-probability of the known one where it is scored."""
        if not wanted:
            return
        highest, likeliest = logits.max(-1)
        chosen, finite = likeliest.tolist(), highest.isfinite().tolist()
        for i, (row, at) in enumerate(wanted):
            if not finite[i]:
                row.failure = "the logits are not finite"
            elif row.request.scored:
                _tell(row, logits[i], row.request.tokens[at + 1])
            else:
                draw, random = row.request.draw, row.random
                row.answer.append(_drawn(logits[i], draw, random.random()) if draw and random else chosen[i])
                if row.request.alternatives is not None:
                    _tell(row, logits[i], row.answer[-1])

    def _release(self) -> None:
        """Take out the rows that are done, and close the gaps with the rows of the last slots."""
        for row in self._active:
            row.done = self._is_done(row)
        if failed := [slot for slot, row in enumerate(self._active) if row.failure]:
            self._cache.wipe(failed)
        kept = sum(not row.done for row in self._active)
        gaps = [slot for slot in range(kept) if self._active[slot].done]
        movers = [slot for slot in range(kept, len(self._active)) if not self._active[slot].done]
        if gaps:
            self._cache.move(movers, gaps)
        for source, target in zip(movers, gaps, strict=True):
            self._active[target] = self._active[source]
        del self._active[kept:]

    def _is_done(self, row: Row) -> bool:
        if row.failure:
            return True
        if row.request.scored:
            return row.computed >= len(row.request.tokens)
        ended = row.answer and row.answer[-1] in self._end_tokens
        return bool(ended) or len(row.answer) >= self._new_tokens(row.request)

    def _halve(self) -> None:
        self._limit.halve()
        self._waiting.extendleft(reversed(self._restarted()))

    def _suspect(self) -> None:
        rows = self._restarted()
        self._suspects += [rows[len(rows) // 2 :], rows[: len(rows) // 2]]

    def _restarted(self) -> list[Row]:
        """The rows that were at work, back at their beginning."""
        rows, self._active = self._active, []
        for row in rows:
            row.restart()
        self._cache.clear()
        return rows


def _families(rows: Sequence[Row]) -> tuple[list[_Family], list[Row]]:
    """Rows that share enough of their beginning to compute it once, and those that do not."""
    candidates: dict[tuple[float, ...], list[Row]] = {}
    for row in rows:
        candidates.setdefault(row.request.coefficients, []).append(row)
    families, alone = [], []
    for members in candidates.values():
        prompts = [row.request.tokens for row in members]
        pairs = zip(min(prompts), max(prompts), strict=False)
        common = len(list(takewhile(lambda pair: pair[0] == pair[1], pairs)))
        shared = min(common, *(row.wanted(0, len(row.request.tokens)).start for row in members))
        if len(members) > 1 and shared >= _WORTH_SHARING:
            families.append(_Family(members, shared))
        else:
            alone += members
    return families, alone


def _tell(row: Row, logits: Tensor, token: int) -> None:
    """Note a token's log-probability, and the likeliest ones where they are asked for."""
    log_probabilities = logits.log_softmax(-1)
    row.log_probabilities.append(float(log_probabilities[token]))
    if row.request.alternatives is not None:
        likeliest = log_probabilities.topk(min(row.request.alternatives, len(logits)))
        row.alternatives.append(list(zip(likeliest.indices.tolist(), likeliest.values.tolist(), strict=True)))


def _drawn(logits: Tensor, draw: Draw, uniform: float) -> int:
    """One token by inversion of the cumulative distribution, the likeliest tokens first.

    A few of them nearly always reach far enough, so that not all have to be sorted.
    """
    kept = min(draw.top_k or len(logits), len(logits))
    among = logits if kept == len(logits) else logits.topk(kept).values
    total = (among.double() / draw.temperature).logsumexp(-1)
    for number in (min(_FEW, kept), kept):
        values, tokens = logits.topk(number)
        cumulative = (values.double() / draw.temperature - total).exp().cumsum(-1)
        if cumulative[-1] > (uniform if draw.top_p == 1 else draw.top_p):
            break
    whole = float(cumulative[-1]) if number == kept else 1.0
    if draw.top_p < whole:
        whole = float(cumulative[int(torch.searchsorted(cumulative, draw.top_p))])
    index = int(torch.searchsorted(cumulative, uniform * whole, right=True))
    return int(tokens[min(index, number - 1)])


def _out_of_memory(error: Exception) -> bool:
    """CUDA has an error of its own; the CPU's allocator raises a RuntimeError."""
    return isinstance(error, torch.OutOfMemoryError) or "can't allocate memory" in str(error)
