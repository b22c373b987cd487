"""How good a reward model is on pairs that it has not seen."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import log

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar
from scipy.stats import binomtest

STEEPEST = 100.0
"""Of the scale."""


@dataclass(frozen=True)
class Judged:
    """Against what people chose, on held-out pairs.

    Args:
        pairs: how many.
        accuracy: share of pairs whose chosen answer has the higher reward, ties by half.
        interval: of 95 %, Wilson's.
        longer: the accuracy of preferring the longer answer, which a model of any worth beats.
        log_loss: mean of -log sigmoid(difference of rewards), nats; a coin's is log 2 = 0.693.
    """

    pairs: int
    accuracy: float
    interval: tuple[float, float]
    longer: float
    log_loss: float

    def __str__(self) -> str:
        low, high = self.interval
        return (
            f"accuracy {self.accuracy:.3f} (95 % {low:.3f} to {high:.3f}) on {self.pairs} held-out pairs; "
            f"the longer answer: {self.longer:.3f}; log loss {self.log_loss:.3f} (a coin: {log(2):.3f})"
        )


def judge(margins: NDArray[np.float64], lengths: NDArray[np.int64]) -> Judged:
    """
    Args:
        margins: [pairs] reward of the chosen answer minus that of the rejected one.
        lengths: [pairs, 2] tokens of the chosen and the rejected answer.
    """
    interval = binomtest(int((margins > 0).sum()), len(margins)).proportion_ci(method="wilson")
    return Judged(
        pairs=len(margins),
        accuracy=_share_above(margins),
        interval=(float(interval.low), float(interval.high)),
        longer=_share_above(lengths[:, 0] - lengths[:, 1]),
        log_loss=_log_loss(margins),
    )


def calibrating_scale(margins: NDArray[np.float64]) -> float:
    """What to multiply rewards by so that sigmoid(difference) is the probability that people choose so.

    Temperature scaling (Guo, Pleiss, Sun, Weinberger 2017) of the Bradley-Terry model: the scale with the least log
    loss, on pairs that were not trained on. Of n pairs each counts as right by (n + 1) / (n + 2) (Platt 1999), so that
    a few that are all right do not make it certain. At least 1 / STEEPEST, at most STEEPEST; never negative.
    """
    right = (len(margins) + 1) / (len(margins) + 2)

    def loss(exponent: float) -> float:
        scaled = np.exp(exponent) * margins
        return right * _log_loss(scaled) + (1 - right) * _log_loss(-scaled)

    return float(np.exp(minimize_scalar(loss, bounds=(-log(STEEPEST), log(STEEPEST))).x))


def cross_calibrated(margins: NDArray[np.float64]) -> NDArray[np.float64]:
    """[pairs] each half of the margins at the scale of the other one, so that none is judged by its own scale."""
    scaled = np.empty_like(margins)
    for half, other in ((slice(0, None, 2), slice(1, None, 2)), (slice(1, None, 2), slice(0, None, 2))):
        scaled[half] = calibrating_scale(margins[other]) * margins[half]
    return scaled


def _share_above(differences: NDArray[np.float64] | NDArray[np.int64] | Sequence[float]) -> float:
    numbers = np.asarray(differences)
    return float((numbers > 0).mean() + 0.5 * (numbers == 0).mean())


def _log_loss(margins: NDArray[np.float64]) -> float:
    return float(np.logaddexp(0.0, -margins).mean())
