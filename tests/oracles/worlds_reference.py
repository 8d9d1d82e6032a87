"""Quantities of a finite instance (world) by plain loops, straight from the definitions."""

from __future__ import annotations

import itertools
import math

import numpy as np


def cells(world):
    """Every (t, x, y) of positive probability, with it."""
    for t, x, y in itertools.product(*(range(n) for n in world.pmf.shape)):
        if world.pmf[t, x, y] > 0:
            yield t, x, y, float(world.pmf[t, x, y])


def marginal(world, axes):
    """Probabilities of the tuples of symbols on these axes (0: t, 1: x, 2: y)."""
    table = {}
    for *symbols, p in cells(world):
        key = tuple(symbols[a] for a in axes)
        table[key] = table.get(key, 0.0) + p
    return table


def entropy(world, axes):
    """H of the variables on these axes."""
    return math.fsum(-p * math.log(p) for p in marginal(world, axes).values())


def mmse(world, given):
    """mmse(T | variables on these axes)."""
    mass = marginal(world, given)
    mean = {}
    for *symbols, p in cells(world):
        key = tuple(symbols[a] for a in given)
        mean[key] = mean.get(key, 0.0) + p * world.values[symbols[0]] / mass[key]
    total = 0.0
    for *symbols, p in cells(world):
        residual = world.values[symbols[0]] - mean[tuple(symbols[a] for a in given)]
        total += p * float(residual @ residual)
    return total


def geometric(world):
    """E d_cos(X, Y) from inner products."""
    total = 0.0
    for _, x, y, p in cells(world):
        a, b = world.x_points[x], world.y_points[y]
        total += p * (1.0 - float(a @ b) / math.sqrt(float(a @ a) * float(b @ b)))
    return total


def lipschitz_y(world):
    """L_2: largest slope of y -> E[T | x, y] over pairs of y that have positive probability with x."""
    joint = marginal(world, (1, 2))
    g = {}
    for t, x, y, p in cells(world):
        g[x, y] = g.get((x, y), 0.0) + p * world.values[t] / joint[x, y]
    slopes = [0.0]
    for (x, y), (z, w) in itertools.combinations(g, 2):
        if x == z and np.any(g[x, y] != g[z, w]):
            rise = np.linalg.norm(g[x, y] - g[z, w])
            slopes.append(rise / np.linalg.norm(world.y_points[y] - world.y_points[w]))
    return max(slopes)


def accuracy(world, given):
    """Largest probability of predicting T correctly from the variables on these axes."""
    best = {}
    for key, p in marginal(world, (0, *given)).items():
        best[key[1:]] = max(best.get(key[1:], 0.0), p)
    return math.fsum(best.values())
