"""The blended model: base + sum_i w_i theta_i with another w on every row of a batch, or on every token.

For a LoRA'd linear layer, y = W x + ((x A^T) * w_row) B^T, where A stacks every adapter's A, B every adapter's
scaling * B, and w_row repeats each coefficient over its adapter's rank. Exact to rounding for any real w.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from mva_ray.adapters.lora import LoraFactors
from mva_ray.adapters.product import Product


class BlendedModel:
    """A base model with n value adapters attached; not thread-safe (coefficients are state of the model).

    On CPU the linear layers give up their weights for copies that are laid out for multiplication.

    Args:
        model: a causal LM whose adapted modules are linear (nn.Linear, GPT-2's Conv1D). It is changed.
        adapters: n sets of factors, ranks and modules may differ.
        products: what the linear layers inside the model multiply in, their own precision if None. The weights are
            kept in it; all else, sums and the output layer among it, stays in the model's precision.

    Raises:
        ValueError: where an adapter names a module that the model does not have.
    """

    def __init__(self, model: Any, adapters: Sequence[LoraFactors], products: torch.dtype | None = None) -> None:
        self.model = model
        self.n_adapters = len(adapters)
        self.products = products
        self._rows: Tensor | None = None
        self._scales: dict[tuple[int, ...], Tensor] = {}
        modules = dict(model.named_modules())
        names = dict.fromkeys(name for adapter in adapters for name in adapter.a)
        missing = [name for name in names if name not in modules]
        if missing:
            others = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
            raise ValueError(f"the model has no module {missing[0]!r}{others}: adapters of another base model?")
        if products is not None or model.device.type == "cpu":
            names |= dict.fromkeys(_inner_linear_layers(model))
            outer = model.get_output_embeddings()
            outer.forward = _OutputLayer(outer)
        for name in names:
            module: Any = modules[name]
            module.forward = _BlendedLinear(self, module, name, adapters, products)

    @contextmanager
    def coefficients(self, rows: Tensor) -> Iterator[Any]:
        """Blend what runs inside with `rows`: [batch, n], or [batch, tokens, n]. Outside, the model is the base model.

        Raises:
            ValueError: where the last dimension is not n, or there are other dimensions.
        """
        if rows.ndim not in (2, 3) or rows.shape[-1] != self.n_adapters:
            raise ValueError(f"coefficients must be [batch, {self.n_adapters}], got {list(rows.shape)}")
        self._rows = (rows[:, None] if rows.ndim == 2 else rows) if rows.any() else None
        self._scales = {}
        try:
            yield self.model
        finally:
            self._rows = None

    def scales(self, owners: tuple[int, ...]) -> Tensor | None:
        """Each coefficient repeated over the ranks of its adapter, [batch, tokens or 1, ranks]; None for the base."""
        if self._rows is None:
            return None
        if owners not in self._scales:
            self._scales[owners] = self._rows[..., owners]
        return self._scales[owners]


class _BlendedLinear:
    """Takes the place of the forward method of a linear layer."""

    def __init__(
        self, blend: BlendedModel, module: Any, name: str, adapters: Sequence[LoraFactors], products: torch.dtype | None
    ) -> None:
        self._blend = blend
        weight = module.weight.detach().to(products or module.weight.dtype)
        self._product = Product(weight.T if isinstance(module, Conv1D) else weight)
        module.weight.data = weight.new_empty(0) if self._product.laid_out else weight
        self._bias = None if module.bias is None else module.bias.detach().to(weight)
        with_it = [(index, adapter) for index, adapter in enumerate(adapters) if name in adapter.a]
        self._owners = tuple(index for index, adapter in with_it for _ in range(len(adapter.a[name])))
        if with_it:
            self._a = Product(torch.cat([adapter.a[name] for _, adapter in with_it]).to(weight))
            precise = torch.promote_types(weight.dtype, torch.float32)
            scaled = [adapter.scaling * adapter.b[name].to(precise) for _, adapter in with_it]
            self._b = torch.cat(scaled, dim=1).to(weight).T.contiguous()

    def __call__(self, inputs: Tensor) -> Tensor:
        cast = inputs.to(self._product.dtype)
        output = self._product(cast, self._bias)
        scales = self._blend.scales(self._owners) if self._owners else None
        if scales is not None:
            hidden = (self._a(cast) * scales).to(cast.dtype)
            output = output.flatten(0, -2).addmm_(hidden.flatten(0, -2), self._b).view_as(output)
        return output.to(inputs.dtype)


class _OutputLayer:
    """Multiplies in the model's own precision: rounded to bfloat16, logits would tie. Its weight may be embeddings."""

    def __init__(self, module: Any) -> None:
        self._product, self._bias = Product(module.weight.detach()), module.bias

    def __call__(self, inputs: Tensor) -> Tensor:
        return self._product(inputs, self._bias)


def _inner_linear_layers(model: Any) -> list[str]:
    outer = model.get_output_embeddings()
    return [
        name for name, module in model.named_modules() if isinstance(module, nn.Linear | Conv1D) and module is not outer
    ]
