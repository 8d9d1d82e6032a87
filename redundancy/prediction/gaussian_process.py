"""Gaussian processes with one length scale per column, learned on few rows and fitted to all of them.

The covariance of two rows is s exp(-|w * (a - b)|^2 / 2) plus a linear part, plus noise on the diagonal; w holds one
inverse length per column, so that columns without relevance are switched off. The linear part is b <w * a, w * b>, or,
where the columns are few, a sum of one function per column (a line and a few cosines), each with its own variance.
A second process has the first linear part and learns a monotone warp u -> 1 - (1 - u^alpha)^beta of every column
(Kumaraswamy's distribution function; Snoek et al. 2014, arXiv:1402.0929), which makes functions smooth that change
quickly at one end of a column. Where the fit changes mostly along one direction of the warped columns (a ratio of
columns is a difference of logarithms), that direction joins them as a further column with its own length, if this
raises the marginal likelihood by more than one per parameter (Akaike's criterion). All maximise the marginal likelihood
(Rasmussen and Williams 2006, chapter 5) by its analytic gradient.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from redundancy.array_types import FloatArray, IntArray

LEARNED_ROWS = 500  # rows whose marginal likelihood is maximised
FIRST_ROWS = 150  # rows of the first, cheap steps
STEPS = (40, 25)  # steps of L-BFGS on the first and on all learned rows
STEEP = 0.75  # share of the squared gradient along one direction from which that direction is tried
WARPED_COLUMNS = 16  # more columns than this are not warped
DIRECTIONS = 12  # directions of steepest change that stand for more than WARPED_COLUMNS components
EXACT_ROWS = 1_000  # up to here the process is solved exactly, beyond on landmarks
WAVES = 4  # cosines of each column in the additive part
SPARSE = 3.0  # rate of the exponential prior on the spread of each function of each column
NOISE_FACTORS = (0.03, 0.1, 0.3, 1.0, 3.0)
EDGE = 5e-4

Cross = Callable[[FloatArray, FloatArray], FloatArray]


@dataclass(frozen=True)
class Coordinates:
    """From standardised columns to the coordinates of the kernel: a rotation, or columns with their range."""

    directions: FloatArray | None  # (q, r)
    low: FloatArray
    width: FloatArray

    def __call__(self, rows: FloatArray) -> FloatArray:
        """Coordinates (n, r) of rows (n, q)."""
        return rows if self.directions is None else np.asarray(rows @ self.directions)

    def unit(self, rows: FloatArray) -> FloatArray:
        """Coordinates moved into the open unit interval by the range of the training rows."""
        return np.asarray(np.clip((rows - self.low) / self.width * (1 - 2 * EDGE) + EDGE, EDGE, 1 - EDGE))


@dataclass(frozen=True)
class LearnedKernel:
    """A kernel with learned lengths (and warp): `features` maps rows to the coordinates that it sees."""

    coordinates: Coordinates
    inverse_lengths: FloatArray
    signal: float
    noise: float
    slope: float | FloatArray  # variance of the linear part, or one for each function of each column
    warp: tuple[FloatArray, FloatArray] | None
    direction: FloatArray | None = None  # (r,), of the warped columns

    @property
    def columns(self) -> int:
        """Number of columns of the smooth part."""
        return self.inverse_lengths.size + (self.direction is not None)

    def features(self, rows: FloatArray) -> FloatArray:
        """Scaled coordinates: those in which the smooth part is isotropic, then those of the linear part."""
        seen = self.coordinates(rows)
        if self.warp is not None:
            # Beyond the range of the training rows the warp goes on as a line.
            beyond = seen - np.clip(seen, self.coordinates.low, self.coordinates.low + self.coordinates.width)
            units = self.coordinates.unit(seen)
            seen = np.sqrt(12.0) * beyond / self.coordinates.width + _warped(units, *self.warp)
        scaled = seen * self.inverse_lengths
        if self.direction is not None:
            return np.hstack([scaled, (seen @ self.direction)[:, None], np.sqrt(self.slope) * scaled])
        if isinstance(self.slope, float):
            return np.hstack([scaled, np.sqrt(self.slope) * scaled])
        basis = column_functions(seen, self.coordinates.unit(seen))
        return np.hstack([scaled, (basis * np.sqrt(self.slope)).reshape(len(seen), -1)])

    def linear(self, features: FloatArray) -> FloatArray:
        """The features of the linear part, whose inner products are its covariance."""
        return features[:, self.columns :]

    def smooth(self, a: FloatArray, b: FloatArray) -> FloatArray:
        """The Gaussian part of the covariance of rows with features a (n, ...) and b (m, ...)."""
        a, b = a[:, : self.columns], b[:, : self.columns]
        gaps = np.square(a).sum(axis=1)[:, None] + np.square(b).sum(axis=1) - 2 * a @ b.T
        np.maximum(gaps, 0.0, out=gaps)
        gaps *= -0.5
        np.exp(gaps, out=gaps)
        gaps *= self.signal
        return np.asarray(gaps)


def learn_kernels(
    rows: FloatArray, z: FloatArray, *, components: bool, rng: np.random.Generator
) -> list[LearnedKernel]:
    """Kernels learned from standardised rows (n, q) and targets z (n, m): plain, and warped if the columns are few."""
    n, q = rows.shape
    centred = _standard(z)
    directions = None
    if components and q > WARPED_COLUMNS:
        directions = _steepest_directions(rows, centred, rng)
    seen = rows if directions is None else rows @ directions
    low, high = seen.min(axis=0), seen.max(axis=0)
    coordinates = Coordinates(directions, low, np.where(high > low, high - low, 1.0))
    order = rng.permutation(n)[:LEARNED_ROWS]
    kernels = []
    for warped in (False, True) if q <= WARPED_COLUMNS else (False,):
        additive = q <= WARPED_COLUMNS and not warped
        parameters = _start(seen.shape[1], warped, additive)
        sizes = (FIRST_ROWS, LEARNED_ROWS) if order.size > 2 * FIRST_ROWS else (LEARNED_ROWS,)
        for size, steps in zip(sizes, STEPS[-len(sizes) :] if len(sizes) > 1 else STEPS[:1], strict=True):
            part = order[:size]
            units = coordinates.unit(seen[part]) if warped else None
            basis = column_functions(seen[part], coordinates.unit(seen[part])) if additive else None
            parameters, cost = _maximise(parameters, seen[part], units, basis, centred[part], steps)
        kernel = _kernel(parameters, coordinates, seen.shape[1], warped=warped, additive=additive)
        if warped and units is not None:
            turned = _turned(kernel, parameters, seen[part], units, centred[part])
            if turned is not None:
                longer, lower = _maximise(turned, seen[part], units, None, centred[part], STEPS[1])
                if lower < cost - seen.shape[1]:
                    kernel = _kernel(longer, coordinates, seen.shape[1], warped=True, additive=False)
        kernels.append(kernel)
    return kernels


def _kernel(parameters: FloatArray, coordinates: Coordinates, r: int, *, warped: bool, additive: bool) -> LearnedKernel:
    signal, noise, slope = np.exp(parameters[r : r + 3])
    tail = np.exp(parameters[r + 3 :])
    turned = warped and tail.size > 2 * r
    return LearnedKernel(
        coordinates,
        np.exp(parameters[:r]),
        float(signal),
        float(noise),
        tail.reshape(-1, r) if additive else float(slope),
        (tail[:r], tail[r : 2 * r]) if warped else None,
        parameters[3 * r + 3 :] if turned else None,
    )


def _turned(
    kernel: LearnedKernel, parameters: FloatArray, seen: FloatArray, units: FloatArray, z: FloatArray
) -> FloatArray | None:
    """Parameters with the direction along which the fit changes most; None if it changes along several."""
    assert kernel.warp is not None
    r = kernel.inverse_lengths.size
    scaled = _warped(units, *kernel.warp) * kernel.inverse_lengths
    features = np.hstack([scaled, np.sqrt(kernel.slope) * scaled])
    near = kernel.smooth(features, features)
    outer = np.zeros((r, r))
    for pull in exact_solution(kernel, features, z).T:
        gradient = near @ (pull[:, None] * scaled) - scaled * (near @ pull)[:, None] + kernel.slope * (pull @ scaled)
        gradient = gradient * kernel.inverse_lengths
        outer += gradient.T @ gradient
    values, vectors = np.linalg.eigh(outer)
    if r < 2 or values[-1] < STEEP * values.sum():
        return None
    return np.concatenate([parameters, np.linalg.norm(kernel.inverse_lengths) * vectors[:, -1]])


def _standard(z: FloatArray) -> FloatArray:
    spread = z.std(axis=0)
    return np.asarray((z - z.mean(axis=0)) / np.where(spread > 0, spread, 1.0))


def _warped(unit: FloatArray, alpha: FloatArray, beta: FloatArray) -> FloatArray:
    return np.asarray(np.sqrt(12.0) * (0.5 - (1 - unit**alpha) ** beta))


def column_functions(rows: FloatArray, units: FloatArray) -> FloatArray:
    """A line and cosines of falling size of each column (n, functions, columns)."""
    waves = [np.cos(np.pi * k * units) / k**2 for k in range(1, WAVES + 1)]
    return np.stack([rows, *waves], axis=1)


def _start(columns: int, warped: bool, additive: bool) -> FloatArray:
    start = [np.full(columns, -0.5 * np.log(columns)), np.array([0.0, np.log(0.2), -2.0])]
    if warped:
        start.append(np.zeros(2 * columns))
    if additive:
        start.append(np.full((WAVES + 1) * columns, -2.0 - np.log(columns)))
    return np.concatenate(start)


def _maximise(
    start: FloatArray,
    rows: FloatArray,
    units: FloatArray | None,
    basis: FloatArray | None,
    z: FloatArray,
    steps: int,
) -> tuple[FloatArray, float]:
    """Parameters of high marginal likelihood, and minus its logarithm."""
    from scipy.optimize import minimize

    columns = rows.shape[1]
    limits = [(-7.0, 4.0)] * columns + [(-6.0, 6.0), (-10.0, 2.0), (-9.0, 5.0)]
    if units is not None:
        limits += [(-2.5, 2.5)] * (2 * columns)
        limits += [(-20.0, 20.0)] * (start.size - len(limits))
    if basis is not None:
        limits += [(-12.0, 4.0)] * (basis.shape[1] * columns)
    result = minimize(
        negative_log_likelihood,
        start,
        args=(rows, units, basis, z),
        jac=True,
        method="L-BFGS-B",
        bounds=limits,
        options={"maxiter": steps},
    )
    return np.asarray(result.x), float(result.fun)


def negative_log_likelihood(
    parameters: FloatArray, rows: FloatArray, units: FloatArray | None, basis: FloatArray | None, z: FloatArray
) -> tuple[float, FloatArray]:
    """Minus the log marginal likelihood of the columns of z (up to a constant), and its gradient.

    Parameters are logarithms: inverse lengths (d), signal, noise, slope; with units also alpha (d) and beta (d) of the
    warp, under a normal prior of variance 1/2 each, and as they are the entries (d or 0) of a direction, under one of
    variance 10; with a basis instead the variance of each function of each column, which replace the linear part, under
    an exponential prior on its root.
    """
    from scipy.linalg import lapack

    n, d = rows.shape
    w = np.exp(parameters[:d])
    signal, noise, slope = np.exp(parameters[d : d + 3])
    y = rows
    if units is not None:
        alpha, beta = np.exp(parameters[d + 3 : 2 * d + 3]), np.exp(parameters[2 * d + 3 : 3 * d + 3])
        power = units**alpha
        rest = 1 - power
        y = np.sqrt(12.0) * (0.5 - rest**beta)
    scaled = y * w
    inner = scaled @ scaled.T
    direction = parameters[3 * d + 3 :] if units is not None else parameters[:0]
    turned = y @ direction if direction.size else None
    metric = inner if turned is None else inner + np.outer(turned, turned)
    squares = np.diagonal(metric)
    smooth = np.exp(-0.5 * np.maximum(squares[:, None] + squares - 2 * metric, 0.0))
    covariance = signal * smooth
    if basis is None:
        covariance += slope * inner
    else:
        spreads = np.exp(0.5 * parameters[d + 3 :])
        linear = basis * spreads.reshape(-1, d)
        flat = linear.reshape(n, -1)
        covariance += flat @ flat.T
    covariance[np.diag_indices(n)] += noise + 1e-8
    factor, failed = lapack.dpotrf(covariance, lower=1)
    if failed:
        return 1e10, np.zeros_like(parameters)
    solved = lapack.dpotrs(factor, z, lower=1)[0]
    value = 0.5 * float((z * solved).sum()) + z.shape[1] * float(np.log(np.diagonal(factor)).sum())
    inverse = np.tril(lapack.dpotri(factor, lower=1)[0])
    inverse += np.tril(inverse, -1).T
    # d value = sum(pull * d covariance).
    pull = 0.5 * (z.shape[1] * inverse - solved @ solved.T)
    weighted = pull * smooth
    gradient = np.empty_like(parameters)
    gradient[d] = signal * weighted.sum()
    gradient[d + 1] = noise * np.trace(pull)
    gradient[d + 2] = 0.0
    # d value / d(w_j y_aj), up to w: from the smooth part and from the linear part.
    along = 2 * signal * (weighted @ y - weighted.sum(axis=1)[:, None] * y)
    if basis is None:
        gradient[d + 2] = slope * (pull * inner).sum()
        along += 2 * slope * (pull @ y)
    else:
        gradient[d + 3 :] = ((pull @ flat).reshape(linear.shape) * linear).sum(axis=0).ravel()
        gradient[d + 3 :] += 0.5 * SPARSE * spreads
        value += SPARSE * float(spreads.sum())
    gradient[:d] = w * w * (along * y).sum(axis=0)
    if units is not None:
        along = along * w * w
        if turned is not None:
            twist = 2 * signal * (weighted @ turned - weighted.sum(axis=1) * turned)
            gradient[3 * d + 3 :] = twist @ y + 0.1 * direction
            along += np.outer(twist, direction)
            value += 0.05 * float(direction @ direction)
        gradient[d + 3 : 2 * d + 3] = (
            along * (np.sqrt(12.0) * beta * rest ** (beta - 1) * power * np.log(units) * alpha)
        ).sum(axis=0)
        gradient[2 * d + 3 : 3 * d + 3] = (along * (-np.sqrt(12.0) * beta * rest**beta * np.log(rest))).sum(axis=0)
        value += float(np.square(parameters[d + 3 : 3 * d + 3]).sum())
        gradient[d + 3 : 3 * d + 3] += 2 * parameters[d + 3 : 3 * d + 3]
    return value, gradient


def _steepest_directions(rows: FloatArray, z: FloatArray, rng: np.random.Generator) -> FloatArray:
    """Orthonormal directions (q, r) in which a first kernel fit changes most (average gradient outer product)."""
    part = rng.permutation(rows.shape[0])[:3_000]
    x, z = rows[part], z[part]
    landmarks = x[:300]
    gaps = np.square(x - np.roll(x, 1, axis=0)).sum(axis=1)
    isotropic = LearnedKernel(
        Coordinates(None, np.zeros(1), np.ones(1)),
        np.full(x.shape[1], 1 / np.sqrt(max(float(np.median(gaps)), 1e-12))),
        1.0,
        0.1,
        1.0,
        None,
    )
    fit = LandmarkFit.of(isotropic, x, z, landmarks)
    held_out = np.arange(x.shape[0]) % 4 == 0
    factor = fit.best_factor([held_out])
    coefficients = fit.solve(fit.moment, fit.cross, factor)
    scale = isotropic.inverse_lengths
    points, centres = fit.rows[:1_000, : x.shape[1]], fit.landmarks[:, : x.shape[1]]
    kernel = fit.design[:1_000, 1 : 1 + fit.landmarks.shape[0]]
    outer = np.zeros((x.shape[1], x.shape[1]))
    for column in coefficients.T:
        pull = column[1 : 1 + fit.landmarks.shape[0]]
        gradient = ((kernel * pull) @ centres - points * (kernel @ pull)[:, None]) + column[
            1 + fit.landmarks.shape[0] :
        ]
        gradient = gradient * scale
        outer += gradient.T @ gradient
    return np.asarray(np.linalg.eigh(outer)[1][:, ::-1][:, :DIRECTIONS])


@dataclass(frozen=True)
class LandmarkFit:
    """Ridge regression on the kernel at landmarks and on the linear part, through moments of blocks of rows."""

    kernel: LearnedKernel
    rows: FloatArray  # scaled coordinates (n, r)
    landmarks: FloatArray  # (k, r)
    design: FloatArray  # (n, 1 + k + r): constant, smooth part, linear part
    z: FloatArray
    penalty: FloatArray
    moment: FloatArray
    cross: FloatArray

    @classmethod
    def of(cls, kernel: LearnedKernel, rows: FloatArray, z: FloatArray, landmarks: FloatArray) -> LandmarkFit:
        """Collect the moments of standardised rows and targets."""
        scaled, centres = kernel.features(rows), kernel.features(landmarks)
        design = kernel_design(kernel, scaled, centres)
        k, r = centres.shape[0], kernel.linear(centres).shape[1]
        penalty = np.zeros((1 + k + r, 1 + k + r))
        penalty[0, 0] = 1e-6
        penalty[1 : 1 + k, 1 : 1 + k] = kernel.smooth(centres, centres)
        penalty[np.arange(1, 1 + k), np.arange(1, 1 + k)] += 1e-6 * kernel.signal
        penalty[np.arange(1 + k, 1 + k + r), np.arange(1 + k, 1 + k + r)] = 1.0
        return cls(kernel, scaled, centres, design, z, penalty, design.T @ design, design.T @ z)

    def solve(self, moment: FloatArray, cross: FloatArray, factor: float) -> FloatArray:
        """Coefficients (1 + k + r, m) at a multiple of the learned noise."""
        from scipy.linalg import cho_factor, cho_solve

        system = moment + max(factor * self.kernel.noise, 1e-7) * self.penalty
        system[np.diag_indices(system.shape[0])] += 1e-12 * np.trace(system)
        return np.asarray(cho_solve(cho_factor(system, lower=True, check_finite=False), cross, check_finite=False))

    def held_out(self, tests: list[IntArray]) -> list[list[FloatArray]]:
        """Predictions of the rows of each test set from the others, at each of `NOISE_FACTORS`."""
        predictions = []
        for test in tests:
            block = self.design[test]
            moment, cross = self.moment - block.T @ block, self.cross - block.T @ self.z[test]
            predictions.append([block @ self.solve(moment, cross, factor) for factor in NOISE_FACTORS])
        return predictions

    def best_factor(self, tests: list[IntArray]) -> float:
        """The multiple of the noise with the smallest held-out error."""
        errors = np.zeros(len(NOISE_FACTORS))
        for test, each in zip(tests, self.held_out(tests), strict=True):
            errors += [np.square(p - self.z[test]).sum() for p in each]
        return NOISE_FACTORS[int(np.argmin(errors))]


def kernel_design(kernel: LearnedKernel, scaled: FloatArray, centres: FloatArray) -> FloatArray:
    """Columns of the regression: constant, smooth part at the landmarks, linear part."""
    k, linear = centres.shape[0], kernel.linear(scaled)
    design = np.empty((scaled.shape[0], 1 + k + linear.shape[1]))
    design[:, 0] = 1.0
    design[:, 1 : 1 + k] = kernel.smooth(scaled, centres)
    design[:, 1 + k :] = linear
    return design


def exact_solution(kernel: LearnedKernel, scaled: FloatArray, z: FloatArray) -> FloatArray:
    """Coefficients (n, m) of the process's posterior mean at the learned noise."""
    from scipy.linalg import cho_factor, cho_solve

    linear = kernel.linear(scaled)
    covariance = kernel.smooth(scaled, scaled) + linear @ linear.T
    covariance[np.diag_indices(covariance.shape[0])] += kernel.noise + 1e-8 * (1 + np.trace(covariance) / len(scaled))
    return np.asarray(cho_solve(cho_factor(covariance, lower=True, check_finite=False), z, check_finite=False))
