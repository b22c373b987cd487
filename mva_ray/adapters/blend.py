"""The blended model: base + sum_i w_i theta_i with another w on every row of a batch, or on every token.

For a LoRA'd linear layer, y = W x + ((x A^T) * w_row) B^T, where A stacks every adapter's A, B every adapter's
scaling * B, and w_row repeats each coefficient over its adapter's rank. Exact to rounding for any real w.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from transformers.pytorch_utils import Conv1D

from mva_ray.adapters.base_model import is_linear
from mva_ray.adapters.lora import LoraFactors, and_more
from mva_ray.adapters.product import Product, can_lay_out


class BlendedModel:
    """A base model with n value adapters attached; not thread-safe (coefficients are state of the model).

    On CPU the linear layers give up their weights for copies that are laid out for multiplication.

    Args:
        model: a causal LM whose adapted modules are linear (nn.Linear, GPT-2's Conv1D). It is changed.
        adapters: n sets of factors, ranks and modules may differ.
        products: what the linear layers inside the model multiply in, their own precision if None. The weights are
            kept in it; all else, sums and the output layer among it, stays in the model's precision.

    Raises:
        ValueError: where an adapter names a module that the model does not have, or one that is not plainly linear.
    """

    def __init__(self, model: Any, adapters: Sequence[LoraFactors], products: torch.dtype | None = None) -> None:
        self.model = model
        self.n_adapters = len(adapters)
        self.products = products
        self._rows: Tensor | None = None
        self._logits_at: Tensor | None = None
        self._scales: dict[tuple[tuple[int, ...], bool], Tensor] = {}
        self._owners: dict[tuple[int, ...], Tensor] = {}
        modules = dict(model.named_modules())
        names = dict.fromkeys(name for adapter in adapters for name in adapter.a)
        _refuse_others(names, modules)
        if products is not None or model.device.type == "cpu":
            names |= dict.fromkeys(name for name, module in modules.items() if is_linear(module))
        inside = set(model.base_model.modules())
        for name in names:
            module: Any = modules[name]
            linear = _OutputLayer if module is model.get_output_embeddings() else _BlendedLinear
            module.forward = linear(self, name, module, adapters, in_head=module not in inside)

    @contextmanager
    def coefficients(self, rows: Tensor, logits_at: Tensor | None = None) -> Iterator[Any]:
        """Blend what runs inside with `rows`: [batch, n], or [batch, tokens, n]. Outside, the model is the base model.

        Args:
            rows: coefficients.
            logits_at: the tokens that logits are asked for, as only these reach what is behind the base model, such as
                the output layer; None for all.

        Raises:
            ValueError: where the last dimension is not n, or there are other dimensions.
        """
        if rows.ndim not in (2, 3) or rows.shape[-1] != self.n_adapters:
            raise ValueError(f"coefficients must be [batch, {self.n_adapters}], got {list(rows.shape)}")
        at_work = rows.device.type != "cpu" or rows.any()  # asking a GPU would wait for it
        self._rows = (rows[:, None] if rows.ndim == 2 else rows) if at_work else None
        self._logits_at = logits_at
        self._scales = {}
        try:
            yield self.model
        finally:
            self._rows = None

    def scales(self, owners: tuple[int, ...], in_head: bool) -> Tensor | None:
        """Each coefficient repeated over the ranks of its adapter, [batch, tokens or 1, ranks]; None for the base."""
        if self._rows is None:
            return None
        if (owners, in_head) not in self._scales:
            seen = self._rows if self._logits_at is None or not in_head else self._rows[:, self._logits_at]
            self._scales[owners, in_head] = seen.index_select(-1, self._on_device(owners))
        return self._scales[owners, in_head]

    def _on_device(self, owners: tuple[int, ...]) -> Tensor:
        """Sent to the device once: nothing can be sent while a step is recorded."""
        if owners not in self._owners:
            self._owners[owners] = torch.tensor(owners, device=self.model.device)
        return self._owners[owners]


class _BlendedLinear:
    """Takes the place of the forward method of a linear layer."""

    def __init__(
        self, blend: BlendedModel, name: str, module: Any, adapters: Sequence[LoraFactors], in_head: bool
    ) -> None:
        self._blend, self._name, self._in_head = blend, name, in_head
        weight = self._weight_of(module)
        self._product = Product(weight.T if isinstance(module, Conv1D) else weight)
        self._bias = None if module.bias is None else module.bias.detach().to(weight)
        with_it = [(index, adapter) for index, adapter in enumerate(adapters) if name in adapter.a]
        self._owners = tuple(index for index, adapter in with_it for _ in range(len(adapter.a[name])))
        if with_it:
            self._a = Product(torch.cat([adapter.a[name] for _, adapter in with_it]).to(weight))
            precise = torch.promote_types(weight.dtype, torch.float32)
            scaled = [adapter.scaling * adapter.b[name].to(precise) for _, adapter in with_it]
            self._b = torch.cat(scaled, dim=1).to(weight).T.contiguous()

    def _weight_of(self, module: Any) -> Tensor:
        """The weight in the precision of products; where a copy of it will be laid out, the module's own is freed."""
        weight: Tensor = module.weight.detach().to(self._blend.products or module.weight.dtype)
        module.weight.data = weight.new_empty(0) if can_lay_out(weight) else weight
        return weight

    def __call__(self, inputs: Tensor) -> Tensor:
        cast = inputs.to(self._product.dtype)
        output = self._product(cast, self._bias)
        scales = self._blend.scales(self._owners, self._in_head) if self._owners else None
        if scales is not None:
            self._refuse_some_tokens(inputs, scales)
            hidden = (self._a(cast) * scales).to(cast.dtype)
            output = output.flatten(0, -2).addmm_(hidden.flatten(0, -2), self._b).view_as(output)
        return output.to(inputs.dtype)

    def _refuse_some_tokens(self, inputs: Tensor, scales: Tensor) -> None:
        """Experts of a mixture may see any tokens: which row's coefficients are theirs is not known here."""
        found, expected = inputs.shape[:-1].numel(), scales.shape[:-1].numel()
        if scales.shape[1] > 1 and found != expected:
            raise ValueError(f"the adapters of {self._name} cannot be blended: it sees {found} of {expected} tokens")


class _OutputLayer(_BlendedLinear):
    """Multiplies in the model's own precision: rounded to bfloat16, logits would tie."""

    def _weight_of(self, module: Any) -> Tensor:
        """It stays: it may be the embeddings' too."""
        weight: Tensor = module.weight.detach()
        return weight


def _refuse_others(names: Iterable[str], modules: Mapping[str, Any]) -> None:
    if missing := [name for name in names if name not in modules]:
        raise ValueError(
            f"the model has no module {and_more(list(map(repr, missing)))}: adapters of another base model?"
        )
    if odd := [name for name in names if not is_linear(modules[name])]:
        kind = type(modules[odd[0]]).__name__
        raise ValueError(f"{and_more(odd)} is a {kind}: only plain linear layers can be blended")
