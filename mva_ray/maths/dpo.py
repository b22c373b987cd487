"""The preference losses of MVA and of the methods it is compared with: one formula, with a weight and a margin a pair.

| method | beta | weight | margin |
| --- | --- | --- | --- |
| DPO | beta | 1 | 0 |
| DPO-LW | beta | the preference weight of the pair's value | 0 |
| MODPO | beta / w_k | 1 | `modpo_margin` |
"""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor


def dpo_loss(
    chosen: Tensor,
    rejected: Tensor,
    ref_chosen: Tensor,
    ref_rejected: Tensor,
    beta: float,
    weight: Tensor | float = 1.0,
    margin: Tensor | float = 0.0,
) -> Tensor:
    """mean(weight * -log sigmoid(beta * h - margin)), h = log (pi / pi_ref)(chosen) - log (pi / pi_ref)(rejected).

    Sources: with weight 1 and margin 0 equation 7 of Rafailov et al., "Direct Preference Optimization" (NeurIPS
    2023, arXiv 2305.18290). A weight for each pair, that of the value it belongs to, makes the weighted sum of the
    values' DPO losses (the baseline DPO-LW of Zhou et al., arXiv 2310.03708, "loss weighting"). A margin makes
    the loss of MODPO, see `modpo_margin`.

    Args:
        chosen: [batch], the summed log-probability (nats) of each preferred completion under the model.
        rejected: [batch], the same of the other completion.
        ref_chosen: [batch], under the reference model.
        ref_rejected: [batch], under the reference model.
        beta: strength of the pull to the reference model, above 0.
        weight: [batch] or one number, at least 0. The sum is divided by the number of pairs, not of weights.
        margin: [batch] or one number, nats by which beta * h must be ahead in addition.

    Returns:
        Scalar, lower is better, log 2 before the first step without a margin; finite for every finite input.
    """
    ahead = (chosen - ref_chosen) - (rejected - ref_rejected)
    return (weight * -torch.nn.functional.logsigmoid(beta * ahead - margin)).mean()


def modpo_scale(weights: Sequence[float], index: int, floor: float = 0.0) -> float:
    """1 / w_k, what MODPO multiplies beta with.

    Args:
        weights: one preference weight a value, at least 0.
        index: k, the place of the value whose pairs are trained on.
        floor: a smaller w_k counts as this, since both beta and the margin grow without bound as w_k nears 0.

    Raises:
        ValueError: a negative weight, or w_k and the floor both 0.
    """
    if min(weights) < 0 or not max(weights[index], floor) > 0:
        raise ValueError(f"MODPO needs weights of at least 0 and a positive one (or floor) at {index}: got {weights}")
    return 1 / max(weights[index], floor)


def modpo_margin(weights: Sequence[float], gaps: ArrayLike, index: int, floor: float = 0.0) -> NDArray[np.float64]:
    """The margin of MODPO: (1 / w_k) sum_{i != k} w_i (r_i(chosen) - r_i(rejected)).

    Used as ``dpo_loss(..., beta=beta * modpo_scale(weights, k), margin=modpo_margin(weights, gaps, k))``, that is
    -log sigmoid((beta / w_k) h - (1 / w_k) w_{-k}^T (r_{-k}(chosen) - r_{-k}(rejected))). A pair whose chosen
    completion is also ahead on the other values asks for more of h, for their rewards are to come out of the same
    log-ratio; one whose chosen completion is behind on them asks for less, or even for the opposite.

    Source: Zhou et al., "Beyond One-Preference-Fits-All Alignment: Multi-Objective Direct Preference Optimization"
    (Findings of ACL 2024, arXiv 2310.03708), the loss L_MODPO of section 3.

    Args:
        weights: one preference weight a value, at least 0.
        gaps: [batch, values], reward of the chosen minus reward of the rejected completion, in the unit that beta
            is measured against (nats of implicit reward); column `index` is not read.
        index: k, the place of the value whose pairs these are.
        floor: see `modpo_scale`.

    Returns:
        [batch], in nats.

    Raises:
        ValueError: as `modpo_scale`, or where the gaps do not have one column a value.
    """
    table, others = np.asarray(gaps, dtype=np.float64), np.array(weights, dtype=np.float64)
    if table.ndim != 2 or table.shape[1] != len(others):
        raise ValueError(f"gaps must have one column a value ({len(others)}), got shape {table.shape}")
    scale = modpo_scale(weights, index, floor)
    rest = np.delete(table, index, axis=1) @ np.delete(others, index)
    return np.asarray(scale * rest, dtype=np.float64)
