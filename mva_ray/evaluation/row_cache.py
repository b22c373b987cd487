"""Keys and values of many rows of different lengths, as an attention function that transformers' models call.

Rows are left-aligned: token p of a row is at position p of its slot, whatever the other rows look like. Nothing is
padded but inside attention, so linear layers see one flat sequence of tokens, [1, tokens, hidden].
"""

from collections import Counter
from collections.abc import Callable, Sequence
from functools import cached_property
from itertools import count
from typing import Any
from weakref import WeakMethod

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention
from transformers import PreTrainedModel
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from mva_ray.adapters.architecture import architecture_problems

KEYS_STEP, QUERIES_STEP = 32, 16
_numbers = count()


class Unfit(ValueError):
    """The model does what our engine cannot follow; the message is what it does, as in "has sinks"."""


class NewTokens:
    """Which tokens a forward pass computes: `counts[i]` of the row in slot `first + i`, from position `starts[i]` on.

    In the flat sequence the tokens come row by row. Padding inside attention goes to whole blocks, so that how a row is
    computed does not depend on how long the others are.
    """

    def __init__(self, first: int, starts: Sequence[int], counts: Sequence[int], device: torch.device) -> None:
        self.slots = slice(first, first + len(counts))
        self.length = keys_length(max(start + number for start, number in zip(starts, counts, strict=True)))
        self._longest = 1 if max(counts) == 1 else round_up(max(counts), QUERIES_STEP)
        self._starts = torch.tensor(starts, device=device)
        self._counts = torch.tensor(counts, device=device)
        self.rows = torch.arange(len(counts), device=device).repeat_interleave(self._counts, output_size=sum(counts))
        offsets = self._counts.cumsum(0) - self._counts
        self._columns = torch.arange(len(self.rows), device=device) - offsets[self.rows]
        self.token_slots = self.rows + first
        self.positions = self._starts[self.rows] + self._columns
        self.last = offsets + self._counts - 1
        self._masks: dict[tuple[int | None, int, torch.dtype], Tensor] = {}

    @cached_property
    def _padded(self) -> Tensor:
        """[rows, longest]: the flat index of each row's tokens, of some token where a row has fewer."""
        columns = torch.arange(self._longest, device=self._starts.device)
        return (self.last - self._counts + 1)[:, None] + torch.minimum(columns, self._counts[:, None] - 1)

    def pad(self, flat: Tensor) -> Tensor:
        """[tokens, ...] to [rows, longest, ...]."""
        return flat[:, None] if self._longest == 1 else flat[self._padded]

    def unpad(self, padded: Tensor) -> Tensor:
        """[rows, longest, ...] to [tokens, ...]."""
        return padded[:, 0] if self._longest == 1 else padded[self.rows, self._columns]

    def mask(self, window: int | None, heads: int, dtype: torch.dtype) -> Tensor:
        """0 where a query may look and -inf elsewhere, [rows, 1, longest * heads, length]; `heads` share a key."""
        if (window, heads, dtype) not in self._masks:
            queries = self.pad(self.positions)[:, :, None]
            keys = torch.arange(self.length, device=queries.device)
            seen = keys <= queries
            if window is not None:
                seen &= keys > queries - window
            mask = torch.zeros(seen.shape, dtype=dtype, device=queries.device).masked_fill_(~seen, -torch.inf)
            self._masks[window, heads, dtype] = mask.repeat_interleave(heads, dim=1)[:, None]
        return self._masks[window, heads, dtype]


class NextTokens(NewTokens):
    """One token of each row from slot 0 on.

    No number is read back from the device, so that what is computed with it can be recorded and run again.

    Args:
        positions: of the tokens, [rows].
        length: of the keys that are read; more than any position.
    """

    def __init__(self, positions: Tensor, length: int) -> None:
        self.slots, self.length, self._longest = slice(0, len(positions)), length, 1
        self.rows = self.token_slots = self.last = torch.arange(len(positions), device=positions.device)
        self.positions = positions
        self._masks = {}


def keys_length(tokens: int) -> int:
    """How many keys of each row are read where the longest has so many tokens."""
    return round_up(tokens, KEYS_STEP)


def round_up(number: int, step: int) -> int:
    """The least multiple of `step` that is not below."""
    return -(-number // step) * step


class RowCache:
    """A static key-value cache that takes the place of the model's attention.

    There is room for `length` tokens of `slots` rows; `moves` counts how often that room was somewhere else in memory.

    Args:
        model: a causal LM of transformers whose attention goes through its attention interface; from now on it works
            only inside `RowCache.forward`.
        values_dtype: what values are kept in, and multiplied in by attention weights; None for the model's precision.
            Those of linear layers that multiply in bfloat16 lose nothing in it.

    Raises:
        Unfit: the architecture does not let its attention be replaced.
    """

    def __init__(self, model: PreTrainedModel, values_dtype: torch.dtype | None = None) -> None:
        if problems := list(architecture_problems(type(model), model.config)):
            raise Unfit(f"{type(model).__name__} {', '.join(problems)}")
        self._model = model
        self._layers = list(range(model.config.get_text_config().num_hidden_layers))
        self._attended: list[int] = []
        self._values_dtype = values_dtype
        self.slots = self.length = self.moves = 0
        self._keys: dict[int, Tensor] = {}
        self._values: dict[int, Tensor] = {}
        self._new: NewTokens | None = None
        name = f"mva_ray_rows_{next(_numbers)}"
        ALL_ATTENTION_FUNCTIONS.register(name, _calling(WeakMethod(self._attend)))
        model.set_attn_implementation(name)

    def forward(self, tokens: Tensor, new: NewTokens, logits_at: Tensor) -> Tensor:
        """Logits [len(logits_at), vocabulary] at those places of the flat `tokens` [tokens]; keeps keys and values.

        Raises:
            Unfit: the model does not do what it is asked for.
        """
        self._new, self._attended = new, []
        output = self._model(
            input_ids=tokens[None], position_ids=new.positions[None], use_cache=False, logits_to_keep=logits_at
        )
        if sorted(self._attended) != self._layers:
            calls = Counter(self._attended)
            odd = next(layer for layer in [*self._layers, *calls] if calls[layer] != 1 or layer not in self._layers)
            raise Unfit(f"calls its attention {calls[odd]} times in layer {odd}, not once in each layer")
        if len(output.logits[0]) != len(logits_at):
            raise Unfit("does not compute the logits of chosen tokens alone")
        logits: Tensor = output.logits[0]
        return logits

    def move(self, sources: Sequence[int], targets: Sequence[int]) -> None:
        """Copy rows to other slots."""
        for tensors in (self._keys, self._values):
            for tensor in tensors.values():
                tensor[list(targets)] = tensor[list(sources)]

    def wipe(self, slots: Sequence[int]) -> None:
        """Forget rows whose numbers are not finite: zero weights do not hide those from the next row in a slot."""
        for tensors in (self._keys, self._values):
            for tensor in tensors.values():
                tensor[list(slots)] = 0

    def copy(self, source: int, targets: slice, length: int) -> None:
        """Give rows the first tokens of another."""
        for tensors in (self._keys, self._values):
            for tensor in tensors.values():
                tensor[targets, :, :length] = tensor[source, :, :length]

    def reserve(self, slots: int, length: int) -> None:
        """Make room; what is there is kept."""
        if slots <= self.slots and length <= self.length:
            return
        self.moves += 1
        self.slots, self.length = max(slots, self.slots), max(keys_length(length), self.length)
        for tensors in (self._keys, self._values):
            for layer, old in tensors.items():
                tensors[layer] = self._room(old, old.shape[1], old.shape[3], transposed=tensors is self._keys)
                tensors[layer][: len(old), :, : old.shape[2]] = old

    def clear(self) -> None:
        """Give the memory back."""
        self.moves += 1
        self.slots = self.length = 0
        self._keys, self._values = {}, {}

    def _attend(
        self,
        module: Any,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        attention_mask: Tensor | None,
        scaling: float | None = None,
        sliding_window: int | None = None,
        softcap: float | None = None,
        s_aux: Tensor | None = None,
        **options: Any,
    ) -> tuple[Tensor, None]:
        """Queries [1, heads, tokens, width], keys and values [1, key heads, tokens, width] of a layer's new tokens."""
        assert self._new is not None, "the model's attention has been replaced: use RowCache.forward"
        if s_aux is not None:
            raise Unfit("has sinks in its attention")
        new, layer = self._new, module.layer_idx
        self._attended.append(layer)
        keys, values = self._store(layer, key[0].transpose(0, 1), value[0].transpose(0, 1))
        heads, shared = keys.shape[1], query.shape[1] // keys.shape[1]
        scaling = query.shape[-1] ** -0.5 if scaling is None else scaling
        padded = new.pad(query[0].transpose(0, 1))
        rows, longest, _, width = padded.shape
        queries = padded.view(rows, longest, heads, shared, width).transpose(1, 2).flatten(2, 3)
        mask = new.mask(sliding_window, shared, query.dtype)
        if query.is_cuda and softcap is None:
            attended = scaled_dot_product_attention(queries, keys, values, attn_mask=mask, scale=scaling)
        else:
            attended = _attention(queries * scaling, keys, values, mask, softcap)
        by_query = attended.view(rows, heads, longest, shared, -1).transpose(1, 2).flatten(2, 3)
        return new.unpad(by_query)[None], None

    def _room(self, like: Tensor, heads: int, width: int, transposed: bool = False) -> Tensor:
        """[slots, heads, length, width]; on CPU `transposed` in memory, as products of few queries read keys faster."""
        if transposed and not like.is_cuda:
            return like.new_zeros(self.slots, heads, width, self.length).transpose(2, 3)
        return like.new_zeros(self.slots, heads, self.length, width)

    def _store(self, layer: int, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
        """Keep [tokens, key heads, width]; all keys and values [rows, key heads, length, width] of the rows at work."""
        assert self._new is not None
        value = value.to(self._values_dtype or value.dtype)
        if layer not in self._keys:
            self._keys[layer] = self._room(key, key.shape[1], key.shape[2], transposed=True)
            self._values[layer] = self._room(value, value.shape[1], value.shape[2])
        keys, values = self._keys[layer], self._values[layer]
        keys[self._new.token_slots, :, self._new.positions] = key
        values[self._new.token_slots, :, self._new.positions] = value
        return keys[self._new.slots, :, : self._new.length], values[self._new.slots, :, : self._new.length]


def _calling(method: WeakMethod[Callable[..., Any]]) -> Callable[..., Any]:
    """transformers keeps the functions that it is given for ever, and a method would keep the model."""

    def call(*given: Any, **options: Any) -> Any:
        found = method()
        assert found is not None, "the model's attention has been replaced by one that is gone"
        return found(*given, **options)

    return call


def _attention(queries: Tensor, keys: Tensor, values: Tensor, mask: Tensor, softcap: float | None) -> Tensor:
    """Softmax attention in plain products: for one query a row, twice as fast on CPU as the fused kernel."""
    scores = queries @ keys.transpose(2, 3)
    if softcap is not None:
        scores = softcap * torch.tanh(scores / softcap)
    weights = (scores + mask).softmax(-1, dtype=torch.float32).to(values.dtype)
    return (weights @ values).to(queries.dtype)
