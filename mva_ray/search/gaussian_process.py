"""Gaussian processes over coefficients: what is known of the rewards of candidates that were not evaluated.

Own code, since scikit-learn's takes ten times as long for the hundred candidates of a search, nearly all of it outside
of its linear algebra. Equations: Rasmussen & Williams, Gaussian Processes for Machine Learning (2006), algorithm 2.1
and equation 5.9.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cho_solve, cholesky, solve_triangular
from scipy.linalg.lapack import dpotri
from scipy.optimize import minimize
from scipy.spatial.distance import cdist

Array = NDArray[np.float64]
Shape = Callable[[Array], tuple[Array, Array]]
"""From squared scaled distances to correlations and their derivatives."""

_NOISE_FLOOR = 1e-6
_JITTER = 1e-6
"""Share of the signal's variance that draws have besides, each of its own."""

_SIGNAL, _LENGTH, _NOISE = (0.05, 100.0), (0.1, 10.0), (1e-4, 1.0)
"""Bounds of the signal's variance, of length scales and of noise that is not known, for inputs and targets scaled."""

_EXPECTED_NOISE = 0.01
_STARTS = (0.0, -1.0)
"""Added to the logarithms that are expected: the likelier of the two is where the fit begins."""

_TOLERANCE = {"maxiter": 30, "ftol": 1e-4}


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
        self._processes = [_Process(inputs, *pair) for pair in zip(scaled.T, noise, strict=True)]

    def predict(self, coefficients: Array) -> tuple[Array, Array]:
        """Mean and standard deviation [m, k] of the true targets."""
        inputs = self._inputs(coefficients)
        found = [process.predict(inputs) for process in self._processes]
        means, deviations = (np.stack(part, axis=1) for part in zip(*found, strict=True))
        return means * self._scale + self._mean, deviations * self._scale

    def expect(self, coefficients: Array) -> Array:
        """The mean of `predict` alone, [m, k], in half of its time."""
        inputs = self._inputs(coefficients)
        return np.asarray(
            np.stack([process.expect(inputs) for process in self._processes], axis=1) * self._scale + self._mean
        )

    def sample(self, coefficients: Array, count: int, rng: np.random.Generator) -> Array:
        """Joint draws of the true targets [count, m, k]."""
        inputs = self._inputs(coefficients)
        draws = [process.draw(inputs, count, rng) for process in self._processes]
        return np.asarray(np.stack(draws, axis=2) * self._scale + self._mean)

    def _inputs(self, coefficients: Array) -> Array:
        return np.asarray((coefficients - self._center) / self._width)


def squared_exponential(squared: Array) -> tuple[Array, Array]:
    """The correlation at squared scaled distances, and its derivative by these."""
    correlation = np.exp(-squared / 2)
    return correlation, -correlation / 2


def matern(squared: Array) -> tuple[Array, Array]:
    """See `squared_exponential`; of smoothness 5/2."""
    root = np.sqrt(5 * squared)
    decay = np.exp(-root)
    return (1 + root + root**2 / 3) * decay, -5 / 6 * (1 + root) * decay


class _Process:
    """One Gaussian process of mean 0, given inputs [n, d], targets [n] and the variances [n] of their noise, if known.

    Its parameters are the logarithms of the signal's variance, of the length scales and, where it is fitted, of the
    noise: the most probable ones, for the shape of the kernel that makes the targets likelier.
    """

    def __init__(self, inputs: Array, targets: Array, noise: Array | None) -> None:
        self._inputs, self._targets = inputs, targets
        self._fits_noise = noise is None
        self._noise = np.maximum(0.0 if noise is None else noise, np.full(len(targets), _NOISE_FLOOR))
        self._squares = (inputs.T[:, :, None] - inputs.T[:, None]) ** 2
        self._start = np.array([0.0] * (1 + inputs.shape[1]) + [np.log(_EXPECTED_NOISE)] * self._fits_noise)
        fits = [self._fit(shape) for shape in (squared_exponential, matern)]
        _, self._shape, self._logs = min(fits, key=lambda fit: fit[0])
        self._root = cholesky(self._covariance(self._logs, self._shape)[0], lower=True)
        self._weights = cho_solve((self._root, True), targets)

    def expect(self, inputs: Array) -> Array:
        """Means [m]."""
        return np.asarray(self._between(inputs, self._inputs) @ self._weights)

    def predict(self, inputs: Array) -> tuple[Array, Array]:
        """Means and standard deviations [m]."""
        between = self._between(inputs, self._inputs)
        known = solve_triangular(self._root, between.T, lower=True)
        variances = np.exp(self._logs[0]) - (known**2).sum(axis=0)
        return between @ self._weights, np.sqrt(np.maximum(variances, 0.0))

    def draw(self, inputs: Array, count: int, rng: np.random.Generator) -> Array:
        """[count, m]; by Cholesky's root of the covariance, which near candidates would make indefinite but for jitter.

        Roots of eigenvectors would depend on which happen to be found where eigenvalues are nearly the same.
        """
        between = self._between(inputs, self._inputs)
        known = solve_triangular(self._root, between.T, lower=True)
        jitter = _JITTER * np.exp(self._logs[0]) * np.eye(len(inputs))
        root = cholesky(self._between(inputs, inputs) - known.T @ known + jitter, lower=True)
        return np.asarray(between @ self._weights + rng.normal(size=(count, len(inputs))) @ root.T)

    def _between(self, rows: Array, others: Array) -> Array:
        lengths = np.exp(self._logs[1 : 1 + rows.shape[1]])
        return np.asarray(
            np.exp(self._logs[0]) * self._shape(cdist(rows / lengths, others / lengths, "sqeuclidean"))[0]
        )

    def _covariance(self, logs: Array, shape: Shape) -> tuple[Array, Array, Array]:
        """Of the targets; of the signal in them; and the derivative of the latter by squared scaled distances."""
        signal, slope = shape(np.tensordot(np.exp(-2 * logs[1 : 1 + len(self._squares)]), self._squares, 1))
        noise = self._noise + (np.exp(logs[-1]) if self._fits_noise else 0.0)
        return np.exp(logs[0]) * signal + np.diag(noise), np.exp(logs[0]) * signal, np.exp(logs[0]) * slope

    def _improbability(self, logs: Array, shape: Shape) -> tuple[float, Array]:
        """Minus the logarithms of likelihood and prior, but for a constant, and their gradient."""
        covariance, signal, slope = self._covariance(logs, shape)
        root = cholesky(covariance, lower=True)
        lower, _ = dpotri(root, lower=1)
        inverse = lower + np.tril(lower, -1).T
        weights = inverse @ self._targets
        inner = (np.outer(weights, weights) - inverse) / 2
        lengths = -2 * np.exp(-2 * logs[1 : 1 + len(self._squares)])
        by_lengths = lengths * np.tensordot(self._squares, inner * slope, 2)
        by_noise = [np.trace(inner) * np.exp(logs[-1])] * self._fits_noise
        gradient = np.array([(inner * signal).sum(), *by_lengths, *by_noise])
        value = self._targets @ weights / 2 + np.log(np.diag(root)).sum() + self._prior(logs)
        return float(value), logs - self._start - gradient

    def _prior(self, logs: Array) -> float:
        """Log-normal around the start for every parameter, for few points tell little: minus its logarithm."""
        return float((logs - self._start) @ (logs - self._start) / 2)

    def _fit(self, shape: Shape) -> tuple[float, Shape, Array]:
        """The most probable parameters, from the likelier of two starts; minus their logarithmic likelihood first."""
        bounds = np.log([_SIGNAL, *[_LENGTH] * len(self._squares), *[_NOISE] * self._fits_noise])
        starts = [np.clip(self._start + shift, *bounds.T) for shift in _STARTS]
        start = min(starts, key=lambda logs: self._improbability(logs, shape)[0])
        found = minimize(
            self._improbability, start, (shape,), jac=True, method="L-BFGS-B", bounds=bounds, options=_TOLERANCE
        )
        return float(found.fun) - self._prior(found.x), shape, np.asarray(found.x)
