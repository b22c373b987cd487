"""Gaussian processes over coefficients: what is known of the rewards of candidates that were not evaluated."""

import warnings
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import eigh
from scipy.optimize import OptimizeResult, minimize
from sklearn.exceptions import ConvergenceWarning
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import RBF, ConstantKernel, Kernel, Matern, WhiteKernel

Array = NDArray[np.float64]
_NOISE_FLOOR = 1e-6
_STARTS = (0.0, -1.0)
"""Logarithms of the length scales that the most probable ones are looked for from."""


class Posterior:
    """Independent Gaussian processes, one a target, each with a length scale a coefficient.

    The kernel is squared exponential or Matérn 5/2, whichever makes the data likelier: rewards are smooth in the
    coefficients up to where the model breaks.

    Args:
        coefficients: [n, d].
        targets: [n, k].
        errors: [n, k] standard errors of the targets: they are the noise, and no other is fitted. None where they are
            not known: then it is.
    """

    def __init__(self, coefficients: Array, targets: Array, errors: Array | None) -> None:
        self._center = coefficients.mean(axis=0)
        self._width = np.maximum(np.ptp(coefficients, axis=0), 1e-9)
        self._mean = targets.mean(axis=0)
        self._scale = np.where(np.ptp(targets, axis=0) > 0, targets.std(axis=0), 1.0)
        inputs, scaled = self._inputs(coefficients), (targets - self._mean) / self._scale
        noise = [None] * targets.shape[1] if errors is None else [*(errors / self._scale).T ** 2]
        self._processes = [_fit(inputs, *pair) for pair in zip(scaled.T, noise, strict=True)]

    def predict(self, coefficients: Array) -> tuple[Array, Array]:
        """Mean and standard deviation [m, k] of the true targets."""
        inputs = self._inputs(coefficients)
        found = [process.predict(inputs, return_std=True) for process in self._processes]
        means, deviations = (np.stack(part, axis=1) for part in zip(*found, strict=True))
        return means * self._scale + self._mean, deviations * self._scale

    def sample(self, coefficients: Array, count: int, rng: np.random.Generator) -> Array:
        """Joint draws of the true targets [count, m, k]."""
        inputs = self._inputs(coefficients)
        draws = [_draw(process, inputs, count, rng) for process in self._processes]
        return np.asarray(np.stack(draws, axis=2) * self._scale + self._mean)

    def _inputs(self, coefficients: Array) -> Array:
        return np.asarray((coefficients - self._center) / self._width)


def _fit(inputs: Array, targets: Array, noise: Array | None) -> GaussianProcessRegressor:
    lengths = np.ones(inputs.shape[1])
    shapes = [RBF(lengths, (0.1, 10.0)), Matern(lengths, (0.1, 10.0), nu=2.5)]
    fitted = [_fit_kernel(ConstantKernel(1.0, (0.05, 100.0)) * shape, inputs, targets, noise) for shape in shapes]
    return max(fitted, key=lambda process: float(process.log_marginal_likelihood_value_))


def _fit_kernel(kernel: Kernel, inputs: Array, targets: Array, noise: Array | None) -> GaussianProcessRegressor:
    if noise is None:
        kernel, noise = kernel + WhiteKernel(0.01, (1e-4, 1.0)), np.zeros(len(targets))
    alpha = np.maximum(noise, _NOISE_FLOOR)
    process = GaussianProcessRegressor(kernel, alpha=alpha, optimizer=_most_probable, random_state=0)
    with warnings.catch_warnings():  # a length scale at its bound is an answer: the reward ignores that coefficient
        warnings.simplefilter("ignore", ConvergenceWarning)
        process.fit(inputs, targets)
    return process


def _most_probable(
    objective: Callable[[Array], tuple[float, Array]], start: Array, bounds: Array
) -> tuple[Array, float]:
    """sklearn's optimiser, with a log-normal prior around its start on every parameter: few points tell little.

    With the inputs scaled to their range and the targets to their deviation, the starts are 1, of the noise 0.01.
    """

    def improbability(logs: Array) -> tuple[float, Array]:
        value, gradient = objective(logs)
        return value + float((logs - start) @ (logs - start)) / 2, gradient + (logs - start)

    found: list[OptimizeResult] = [
        minimize(improbability, start + shift, jac=True, method="L-BFGS-B", bounds=bounds) for shift in _STARTS
    ]
    best = min(found, key=lambda result: float(result.fun))
    return best.x, best.fun


def _draw(process: GaussianProcessRegressor, inputs: Array, count: int, rng: np.random.Generator) -> Array:
    """[count, m]; by the symmetric root of the covariance, which rounding makes indefinite for near candidates.

    Any other root would depend on which eigenvectors happen to be found where eigenvalues are nearly the same.
    """
    mean, covariance = process.predict(inputs, return_cov=True)
    values, vectors = eigh(covariance)
    root = vectors * np.sqrt(np.maximum(values, 0)) @ vectors.T
    return np.asarray(mean + rng.normal(size=(count, len(inputs))) @ root)
