"""Gaussian processes over coefficients, with noise that is known."""

import warnings
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cholesky
from scipy.optimize import minimize
from sklearn.exceptions import ConvergenceWarning
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import RBF, ConstantKernel, Matern

Array = NDArray[np.float64]
_NOISE_FLOOR = 1e-6
NU = 2.5
LENGTH = (0.0, 1.0)
VAR = (0.0, 1.0)
VBOUND = (0.05, 100.0)


class Posterior:
    """Independent Gaussian processes, one a target: Matérn 5/2 with a length scale a coefficient, given noise.

    Args:
        coefficients: [n, d].
        targets: [n, k].
        errors: [n, k] standard errors of the targets; they are the noise, and no other is fitted.
    """

    def __init__(self, coefficients: Array, targets: Array, errors: Array) -> None:
        self._center = coefficients.mean(axis=0)
        self._width = np.maximum(np.ptp(coefficients, axis=0), 1e-9)
        self._mean = targets.mean(axis=0)
        self._scale = np.where(np.ptp(targets, axis=0) > 0, targets.std(axis=0), 1.0)
        inputs = self._inputs(coefficients)
        scaled = (targets - self._mean) / self._scale
        noise = np.maximum((errors / self._scale) ** 2, _NOISE_FLOOR)
        self._processes = [_fit(inputs, scaled[:, i], noise[:, i]) for i in range(targets.shape[1])]

    def predict(self, coefficients: Array) -> tuple[Array, Array]:
        """Mean and standard deviation [m, k] of the true targets."""
        inputs = self._inputs(coefficients)
        means, deviations = zip(*(process.predict(inputs, return_std=True) for process in self._processes), strict=True)
        return np.stack(means, 1) * self._scale + self._mean, np.stack(deviations, 1) * self._scale

    def sample(self, coefficients: Array, count: int, rng: np.random.Generator) -> Array:
        """Joint draws of the true targets [count, m, k]."""
        inputs = self._inputs(coefficients)
        draws = [_draw(process, inputs, count, rng) for process in self._processes]
        return np.asarray(np.stack(draws, 2) * self._scale + self._mean)

    def _inputs(self, coefficients: Array) -> Array:
        return np.asarray((coefficients - self._center) / self._width)


def _fit(inputs: Array, targets: Array, noise: Array) -> GaussianProcessRegressor:
    n = inputs.shape[1]
    base = Matern(np.full(n, 1.0), (0.1, 10.0), nu=NU) if NU else RBF(np.full(n, 1.0), (0.1, 10.0))
    kernel = ConstantKernel(1.0, VBOUND) * base
    process = GaussianProcessRegressor(kernel, alpha=noise, optimizer=_most_probable, random_state=0)
    with warnings.catch_warnings():  # a length scale at its bound is an answer: the reward ignores that coefficient
        warnings.simplefilter("ignore", ConvergenceWarning)
        process.fit(inputs, targets)
    return process


def _most_probable(
    objective: Callable[[Array], tuple[float, Array]], start: Array, bounds: Array
) -> tuple[Array, float]:
    """Maximises the marginal likelihood times a log-normal prior"""
    center = np.array([VAR[0], *[LENGTH[0]] * (len(start) - 1)])
    spread = np.array([VAR[1], *[LENGTH[1]] * (len(start) - 1)])

    def negative(theta: Array) -> tuple[float, Array]:
        value, gradient = objective(theta)
        away = (theta - center) / spread
        return value + 0.5 * float(away @ away), gradient + away / spread

    best = None
    for shift in STARTS:
        begin = start.copy()
        begin[1:] += shift
        found = minimize(negative, begin, jac=True, method="L-BFGS-B", bounds=bounds)
        if best is None or found.fun < best.fun:
            best = found
    return best.x, best.fun


STARTS = (0.0, -1.0)


def _draw(process: GaussianProcessRegressor, inputs: Array, count: int, rng: np.random.Generator) -> Array:
    mean, covariance = process.predict(inputs, return_cov=True)
    jitter = 1e-8 * np.eye(len(inputs)) * max(1.0, float(covariance.max()))
    for _ in range(6):
        try:
            root = cholesky(covariance + jitter, lower=True, check_finite=False)
            break
        except np.linalg.LinAlgError:
            jitter *= 10
    return np.asarray(mean + rng.normal(size=(count, len(inputs))) @ root.T)
