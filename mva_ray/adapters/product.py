"""Matrix products with a weight that stays: on CPU it is laid out once as oneDNN multiplies it, not at every call."""

import torch
from torch import Tensor
from torch.nn.functional import linear

_ROWS = 64
"""How many rows of inputs the layout is chosen for; other numbers are multiplied as well."""


class Product:
    """Multiplies inputs [..., in] by a weight [out, in] and adds a bias [out].

    In bfloat16 the same to the last bit as torch's `linear`, and 1.4 times as fast where the weights of
    many layers take turns; in float32 another order of the sums, and twice as fast where torch leaves them to MKL on a
    processor that MKL does not know.

    Args:
        weight: copied where `laid_out`, else kept.
    """

    def __init__(self, weight: Tensor) -> None:
        self.laid_out = can_lay_out(weight)
        self.dtype = weight.dtype
        operators = torch.ops.mkldnn
        self._weight = operators._reorder_linear_weight(weight.contiguous(), _ROWS) if self.laid_out else weight

    def __call__(self, inputs: Tensor, bias: Tensor | None = None) -> Tensor:
        if not self.laid_out:
            return linear(inputs, self._weight, bias)
        output: Tensor = torch.ops.mkldnn._linear_pointwise(inputs, self._weight, bias, "none", [], "")
        return output


def can_lay_out(weight: Tensor) -> bool:
    """The operators are torch's own, for its compiler: they may be missing in another version."""
    operators, dtype = torch.ops.mkldnn, weight.dtype
    there = torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]
    if weight.device.type != "cpu" or not there or not hasattr(operators, "_linear_pointwise"):
        return False
    return dtype == torch.float32 or (dtype == torch.bfloat16 and bool(operators._is_mkldnn_bf16_supported()))
