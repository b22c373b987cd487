"""The blended model: base + sum_i w_i theta_i with another w on every row of a batch.

For a LoRA'd linear layer, y = W x + ((x A^T) * w_row) B^T, where A stacks every adapter's A, B every adapter's
scaling * B, and w_row repeats each coefficient over its adapter's rank. Exact to rounding for any real w.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from mva_ray.adapters.lora import LoraFactors


class BlendedModel:
    """A base model with n value adapters attached; not thread-safe (coefficients are state of the model).

    Args:
        model: a causal LM whose adapted modules are linear (nn.Linear, GPT-2's Conv1D); its weights stay as they are.
        adapters: n sets of factors, ranks and modules may differ.

    Raises:
        ValueError: where an adapter names a module that the model does not have.
    """

    def __init__(self, model: nn.Module, adapters: Sequence[LoraFactors]) -> None:
        self.model = model
        self.n_adapters = len(adapters)
        self._coefficients: Tensor | None = None
        modules = dict(model.named_modules())
        names = dict.fromkeys(name for adapter in adapters for name in adapter.a)
        missing = [name for name in names if name not in modules]
        if missing:
            others = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
            raise ValueError(f"the model has no module {missing[0]!r}{others}: adapters of another base model?")
        for name in names:
            self._attach(modules[name], name, adapters)

    @contextmanager
    def coefficients(self, rows: Tensor) -> Iterator[Any]:
        """Blend row b of every batch run inside with `rows[b]`: [batch, n]. Outside, the model is the base model.

        Raises:
            ValueError: where the second dimension is not n.
        """
        if rows.ndim != 2 or rows.shape[1] != self.n_adapters:
            raise ValueError(f"coefficients must be [batch, {self.n_adapters}], got {list(rows.shape)}")
        self._coefficients = rows if rows.any() else None
        try:
            yield self.model
        finally:
            self._coefficients = None

    def _attach(self, module: nn.Module, name: str, adapters: Sequence[LoraFactors]) -> None:
        owners = [index for index, adapter in enumerate(adapters) if name in adapter.a]
        weight = next(module.parameters())
        stacked_a = torch.cat([adapters[i].a[name] for i in owners]).to(weight)
        stacked_b = torch.cat([adapters[i].scaling * adapters[i].b[name].to(weight) for i in owners], dim=1)
        owner_of_rank = torch.tensor(
            [index for index in owners for _ in range(len(adapters[index].a[name]))], device=weight.device
        )

        def add_delta(_: nn.Module, inputs: tuple[Any, ...], output: Tensor) -> Tensor:
            if self._coefficients is None:
                return output
            scales = self._coefficients.to(output)[:, owner_of_rank].unsqueeze(1)
            delta: Tensor = (inputs[0] @ stacked_a.T * scales) @ stacked_b.T
            return output + delta

        module.register_forward_hook(add_delta)
