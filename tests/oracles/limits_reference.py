"""Reference for bounds.confidence: one column at a time, in 60-digit arithmetic (theory, section 9.1)."""

from __future__ import annotations

import itertools
import math

import mpmath as mp

mp.mp.dps = 60


def _divergence(a, b):
    total = mp.mpf(0)
    if a > 0:
        total += a * mp.log(a / b)
    if a < 1:
        total += mp.inf if b == 1 else (1 - a) * mp.log((1 - a) / (1 - b))
    return total


def _largest_accepted(accepted, low):
    low, high = mp.mpf(low), mp.mpf(1)
    if accepted(high):
        return high
    for _ in range(180):
        middle = (low + high) / 2
        low, high = (middle, high) if accepted(middle) else (low, middle)
    return low


def _at_most(k, n, mu):
    return mp.fsum(mp.binomial(n, j) * mu**j * (1 - mu) ** (n - j) for j in range(int(k) + 1))


def hoeffding(d, alpha):
    d = [mp.mpf(v) for v in d]
    return min(mp.mpf(1), mp.fsum(d) / len(d) + mp.sqrt(mp.log(1 / mp.mpf(alpha)) / (2 * len(d))))


def chernoff_kl(d, alpha):
    d = [mp.mpf(v) for v in d]
    mean, goal = mp.fsum(d) / len(d), mp.log(1 / mp.mpf(alpha))
    return _largest_accepted(lambda mu: len(d) * _divergence(mean, mu) <= goal, mean)


def anderson_dkw(d, alpha):
    d = sorted(mp.mpf(v) for v in d)
    n = len(d)
    s = mp.sqrt(mp.log(1 / min(mp.mpf(alpha), mp.mpf("0.5"))) / (2 * n))
    knots = sorted({mp.mpf(0), mp.mpf(1), *d})
    total = mp.mpf(0)
    for left, right in itertools.pairwise(knots):
        above = mp.mpf(sum(v > left for v in d)) / n
        total += (right - left) * min(mp.mpf(1), above + s)
    return total


def empirical_bernstein(d, alpha):
    d = [mp.mpf(v) for v in d]
    n = len(d)
    if n == 1:
        return mp.mpf(1)
    mean = mp.fsum(d) / n
    variance = mp.fsum((v - mean) ** 2 for v in d) / (n - 1)
    log_term = mp.log(2 / mp.mpf(alpha))
    return min(mp.mpf(1), mean + mp.sqrt(2 * variance * log_term / n) + 7 * log_term / (3 * (n - 1)))


def hoeffding_bentkus(d, alpha):
    d = [mp.mpf(v) for v in d]
    n = len(d)
    mean = mp.fsum(d) / n
    k = mp.ceil(mp.fsum(d) - mp.mpf("1e-12"))

    def accepted(mu):
        both = (mp.exp(-n * _divergence(min(mean, mu), mu)), mp.e * _at_most(k, n, mu))
        return min(both) >= mp.mpf(alpha)

    return _largest_accepted(accepted, mean)


def betting_anytime(d, alpha):
    """The same with stakes that do not know how many units will come."""
    return betting(d, alpha, share=lambda i, n: 1 / mp.log(1 + i))


def betting(d, alpha, weights=None, stake_limit=0.9, share=lambda i, n: mp.mpf(i) / n):
    """Smallest rejected m, each bet recomputed from all units before it."""
    d = [mp.mpf(v) for v in d]
    w = [mp.mpf(1)] * len(d) if weights is None else [mp.mpf(v) for v in weights]
    n, goal = len(d), mp.log(1 / mp.mpf(alpha))
    bets = []
    for i in range(n):
        variance = mp.mpf("0.25")
        for j in range(i):
            seen = range(j + 1)
            centre = (mp.mpf("0.5") + mp.fsum(w[k] * d[k] for k in seen)) / (1 + mp.fsum(w[k] for k in seen))
            variance += (w[j] * (d[j] - centre)) ** 2
        bets.append(mp.sqrt(2 * goal * share(i + 1, n) / variance))

    def accepted(m):
        if m == 1:
            return False
        log_capital = best = mp.mpf(0)
        for i in range(n):
            bet = min(bets[i], mp.mpf(stake_limit) / (1 - m))
            log_capital += mp.log(1 + bet * w[i] * (m - d[i]))
            best = max(best, log_capital)
        return best < goal

    return _largest_accepted(accepted, 0)


def betting_star(d, alpha):
    """The least candidate of the grid down to which all are rejected, tested one by one from above."""
    d = [mp.mpf(v) for v in d]
    n, goal = len(d), mp.log(1 / mp.mpf(alpha))
    steps = math.ceil(40 * math.sqrt(n))
    limit = mp.mpf(1)
    for k in range(steps, 0, -1):
        m, log_capital = (mp.mpf(k) / steps) ** 2, mp.mpf(0)
        for j in range(n):
            if log_capital >= goal:
                break
            variance = mp.mpf("0.25")
            for i in range(j):
                variance += (d[i] - (mp.mpf("0.5") + mp.fsum(d[: i + 1])) / (i + 2)) ** 2
            stake = mp.sqrt(2 * (goal - log_capital) * (j + 1) / ((n - j) * variance))
            stake = stake if m == 1 else min(stake, mp.mpf("0.9") / (1 - m))
            log_capital += mp.log(1 + stake * (m - d[j]))
        if log_capital < goal:
            break
        limit = m
    return limit


def clopper_pearson(d, alpha):
    n, k = len(d), int(sum(d))
    if k == n:
        return mp.mpf(1)
    return _largest_accepted(lambda mu: _at_most(k, n, mu) >= mp.mpf(alpha), mp.mpf(k) / n)
