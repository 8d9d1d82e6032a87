"""Rules that choose image tokens, written from their authors' code in words, one token at a time, in plain Python."""

from __future__ import annotations

import math

import numpy as np


def cosine(a, b):
    return sum(x * y for x, y in zip(a, b, strict=True)) / math.sqrt(sum(x * x for x in a) * sum(y * y for y in b))


def divprune(tokens, keep):
    """github.com/vbdi/divprune, DivPrune: distances 1 - cosine of projected tokens, arg max of minima.

    In the first step each token's score is the second smallest entry of its column (the smallest is its distance to
    itself); later the least distance to the chosen ones.
    """
    n, chosen = len(tokens), []
    for _ in range(keep):
        best, best_score = None, -math.inf
        for j in range(n):
            if j in chosen:
                continue
            against = chosen or [i for i in range(n) if i != j]
            score = min((1 - cosine(tokens[i], tokens[j]) for i in against), default=0.0)
            if best is None or score > best_score + 1e-12:
                best, best_score = j, score
        chosen.append(best)
    return tuple(sorted(chosen))


def dart(states, keys, image, keep, image_pivots, text_pivots):
    """Ports of github.com/ZichenWen1/DART, get_retained_image_token.

    L1 norms of the keys of layer K - 1 give the pivots, among image tokens and among the tokens after the image; each
    pivot, taken by position, keeps the image tokens that are not kept yet and have the lowest cosine of normed states
    with it, until the budget is full; what is missing is filled by the norm of the states.
    """

    def top(candidates, value, number):
        return sorted(candidates, key=lambda j: (-value(j), j))[:number]

    places = [j for j, shown in enumerate(image) if shown]
    size = {j: sum(abs(x) for x in row) for j, row in enumerate(keys)}
    own = top(places, size.__getitem__, min(image_pivots, keep))
    text = top(range(places[-1] + 1, len(states)), size.__getitem__, text_pivots)
    kept = list(own)
    for pivot in sorted(own + text):
        free = [j for j in places if j not in kept]
        number = min(max(1, round(keep / (image_pivots + text_pivots))), keep - len(kept))
        kept += top(free, lambda j, pivot=pivot: -cosine(states[j], states[pivot]), number)
    free = [j for j in places if j not in kept]
    kept += top(free, lambda j: math.sqrt(sum(x * x for x in states[j])), keep - len(kept))
    return tuple(sorted(places.index(j) for j in kept))


def holov(tokens, attention, keep, crops):
    """github.com/obananas/HoloV, HoloV: shares of crops by mean score, highest attention within.

    The first N mod crops crops have one token more. Variance of the cosines is taken with the token's own entry set to
    zero and divided by the number of others, as in the authors' code.
    """
    n, start, parts = len(tokens), 0, []
    for number in range(crops):
        size = n // crops + (number < n % crops)
        parts += [list(range(start, start + size))] if size else []
        start += size
    weights = []
    for part in parts:
        if len(part) == 1:
            weights.append(attention[part[0]])
            continue
        variances = []
        for i in part:
            row = [0.0 if i == j else cosine(tokens[i], tokens[j]) for j in part]
            mean = sum(row) / (len(part) - 1)
            variances.append(sum((x - mean) ** 2 for x in row) / (len(part) - 1))
        scaled = [1000 * attention[j] for j in part]
        factor = (sum(scaled) / len(part)) / (sum(variances) / len(part) + 1e-6)
        weights.append(sum(a + 0.09 * v * factor for a, v in zip(scaled, variances, strict=True)) / len(part))
    total = sum(weights) + 1e-6
    quota = [math.floor(w / total * keep) for w in weights]
    for number in sorted(range(len(parts)), key=lambda k: (-weights[k], k))[: keep - sum(quota)]:
        quota[number] += 1
    kept = []
    for part, number in zip(parts, quota, strict=True):
        kept += sorted(part, key=lambda j: (-attention[j], j))[:number]
    kept = kept[:keep]
    left = sorted(set(range(n)) - set(kept), key=lambda j: (-attention[j], j))
    return tuple(sorted(kept + left[: keep - len(kept)]))


def visionzip(attention, keep, context):
    """github.com/dvlab-research/VisionZip: dominant by class attention; targets at equal steps among the rest."""
    spaced = round(context * keep)
    ranked = sorted(range(len(attention)), key=lambda j: (-attention[j], j))
    dominant = ranked[: keep - spaced]
    rest = [j for j in range(len(attention)) if j not in dominant]
    step = max(1, len(rest) // spaced) if spaced else 1
    return tuple(sorted(dominant + [rest[i * step] for i in range(spaced)]))


def cdpruner(tokens, relevance, keep):
    """arXiv:2506.10967: at each step the token that makes the determinant of the chosen kernel largest."""
    kernel = np.array([[r * cosine(a, b) * s for b, s in zip(tokens, relevance, strict=True)]
                       for a, r in zip(tokens, relevance, strict=True)])  # fmt: skip
    chosen = []
    for _ in range(keep):
        gains = {j: np.linalg.det(kernel[np.ix_([*chosen, j], [*chosen, j])]) for j in range(len(tokens))
                 if j not in chosen}  # fmt: skip
        chosen.append(max(gains, key=gains.get))
    return tuple(sorted(chosen))
