"""BROJA by other means: plain loops that check a certificate, and a slow alternating minimisation."""

from __future__ import annotations

import math

import numpy as np

BITS = math.log(2.0)


def checked_gap(pmf, q, u, v):
    """Worst violations and the duality gap of (q, u, v), by loops over cells with exactly rounded sums."""
    size_t, size_x, size_y = pmf.shape
    marginal = 0.0
    for t in range(size_t):
        for x in range(size_x):
            marginal = max(marginal, abs(math.fsum(q[t, x]) - math.fsum(pmf[t, x])))
        for y in range(size_y):
            marginal = max(marginal, abs(math.fsum(q[t, :, y]) - math.fsum(pmf[t, :, y])))
    load, primal, dual = 0.0, [], []
    for x in range(size_x):
        for y in range(size_y):
            load = max(load, math.fsum(math.exp(u[t, x] + v[t, y]) for t in range(size_t)))
            total = math.fsum(q[:, x, y])
            primal += [c * math.log(c / total) for c in q[:, x, y] if c > 0]
    for t in range(size_t):
        dual += [math.fsum(pmf[t, x]) * u[t, x] for x in range(size_x) if pmf[t, x].any()]
        dual += [math.fsum(pmf[t, :, y]) * v[t, y] for y in range(size_y) if pmf[t, :, y].any()]
    return {
        "marginal": marginal,
        "load": load,
        "negative": float(q.min()),
        "gap": math.fsum(primal) - math.fsum(dual),
    }


def alternating(pmf, rounds=2000, sweeps=60):
    """Upper bound on U(T : X \\ Y): each slice is projected onto its marginals by Sinkhorn sweeps, then pooled."""
    pooled = pmf.sum(0)
    a, b = pmf.sum(2), pmf.sum(1)
    for _ in range(rounds):
        q = np.zeros_like(pmf)
        for t in range(len(pmf)):
            s = np.where((a[t][:, None] > 0) & (b[t][None] > 0), np.maximum(pooled, 1e-300), 0.0)
            for _ in range(sweeps):
                s *= (a[t] / np.where(s.sum(1) > 0, s.sum(1), 1.0))[:, None]
                s *= (b[t] / np.where(s.sum(0) > 0, s.sum(0), 1.0))[None]
            q[t] = s
        pooled = q.sum(0)
    value = 0.0
    for t, x, y in np.argwhere(q > 0):
        value += q[t, x, y] * math.log(q[t, x, y] * q[:, :, y].sum() / (q[t, :, y].sum() * q[:, x, y].sum()))
    return value


def gate(function, size_t):
    """The distribution of T = function(X, Y) for independent fair bits."""
    p = np.zeros((size_t, 2, 2))
    for x in range(2):
        for y in range(2):
            p[function(x, y), x, y] += 0.25
    return p


def _joined(*pmfs):
    """Product of independent distributions: T, X and Y are the tuples of their values."""
    out = pmfs[0]
    for pmf in pmfs[1:]:
        out = np.einsum("txy,abc->taxbyc", out, pmf).reshape(
            *(m * n for m, n in zip(out.shape, pmf.shape, strict=True))
        )
    return out


XOR = gate(lambda x, y: x ^ y, 2)
RDN = np.zeros((2, 2, 2))
RDN[0, 0, 0] = RDN[1, 1, 1] = 0.5
COPY = gate(lambda x, y: 2 * x + y, 4)

# Published values in bits: (redundant, unique_x, unique_y, synergistic), Bertschinger et al. 2014 (AND, XOR, COPY);
# Makkeh, Theis and Vicente 2018, table 2 (the others).
PUBLISHED = {
    "XOR": (XOR, (0.0, 0.0, 0.0, 1.0)),
    "AND": (gate(lambda x, y: x & y, 2), (0.75 * math.log2(4.0 / 3.0), 0.0, 0.0, 0.5)),
    "RDN": (RDN, (1.0, 0.0, 0.0, 0.0)),
    "UNQ": (COPY, (0.0, 1.0, 1.0, 0.0)),
    "XORAND": (gate(lambda x, y: x + y, 3), (0.5, 0.0, 0.0, 1.0)),
    "RDNXOR": (_joined(RDN, XOR), (1.0, 0.0, 0.0, 1.0)),
    "RDNUNQXOR": (_joined(RDN, COPY, XOR), (1.0, 1.0, 1.0, 1.0)),
}
