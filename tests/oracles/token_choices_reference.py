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
    """github.com/ZichenWen1/DART, get_retained_image_token, as four forks carry it.

    L1 norms of the keys of layer K - 1 give the pivots, among image tokens and among the tokens after the image; each
    pivot keeps the image tokens that are not kept yet and have the lowest cosine of normed states with it: the whole
    part of a target number divided by the number of pivots, so that p + (p + q) of these parts are kept, with p image
    and q text pivots. The forks take pivots in the order of a Python set of places; here by position. Numbers between
    are ours: filled by the norm of the states.
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
        number = (keep - len(own)) // (image_pivots + text_pivots)
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


def prumerge_rows(scores, keys, features, keep, neighbours, plus):
    """github.com/42Shawn/LLaVA-PruMerge, token_prune_merge_advanced(_plus): the features that reach the projector.

    Kept patches in the order of their class attention, then (plus) the patches of the arithmetic sequence that are not
    kept yet. Each is replaced by itself plus the sum, weighted by class attention, of the patches most similar to it by
    key among all others; the list ends with the sum of all that are not kept, weighted in the same way.
    """
    n = len(scores)
    order = sorted(range(n), key=lambda j: (-scores[j], j))[:keep]
    if plus:
        step = int(int(1 / (keep / n)) / 3)
        order += [j for j in range(0, n - 1, step) if j not in order]
    rest = [j for j in range(n) if j not in order]
    out = []
    for i in order:
        others = [j for j in order if j != i] + rest
        close = sorted(others, key=lambda j: -cosine(keys[i], keys[j]))[:neighbours]
        out.append([x + sum(scores[j] * features[j][c] for j in close) for c, x in enumerate(features[i])])
    out.append([sum(scores[j] * features[j][c] for j in rest) for c in range(len(features[0]))])
    return out


def visionzip_rows(attention, keys, features, keep, context):
    """github.com/dvlab-research/VisionZip, clip_encoder.py: dominant tokens in place order, then contextual ones.

    Targets are taken at equal steps from what is not dominant; every other token goes to the target with the largest
    cosine of keys; a contextual token is its target plus the mean of what went to it.
    """
    n, spaced = len(attention), round(context * keep)
    dominant = sorted(sorted(range(n), key=lambda j: (-attention[j], j))[: keep - spaced])
    rest = [j for j in range(n) if j not in dominant]
    step = max(1, len(rest) // spaced) if spaced else 1
    targets = [rest[i * step] for i in range(spaced)]
    went = {t: [] for t in targets}
    for j in rest:
        if j not in targets and targets:
            went[max(targets, key=lambda t, j=j: cosine(keys[j], keys[t]))].append(j)
    out = [list(features[j]) for j in dominant]
    for t in targets:
        own = went[t]
        mean = [sum(features[j][c] for j in own) / max(1, len(own)) for c in range(len(features[0]))]
        out.append([x + m for x, m in zip(features[t], mean, strict=True)])
    return out


def vscan_rows(deep, shallow, projected, keep, window):
    """github.com/Tencent/SelfEvolvingAgent, VScan/llava/model/llava_arch.py: encode_images, window_cls_selection and
    token_merging, as github.com/ocy1/PIO-FVLM carries them.

    The image is cut into whole windows, row by row; each gives the tokens with the largest shallow class attention in
    it, half the budget divided by the number of windows, rounded down. The deep class attention of these is then set to
    nothing, and the other half of the budget (rounded up) goes to the largest that is left. Image tokens are projected
    first; each token that is not chosen is added to the chosen one with the largest cosine of projected tokens, and
    each sum divided by one more than the number of tokens added. The chosen tokens stay in order of place.
    """
    n = len(deep)
    side, half = round(math.sqrt(n)), keep // 2
    across = side // window
    chosen = []
    for down in range(across):
        for right in range(across):
            cell = [(down * window + y) * side + right * window + x for y in range(window) for x in range(window)]
            chosen += sorted(cell, key=lambda j: (-shallow[j], j))[: half // across**2]
    left = [-1.0 if j in chosen else deep[j] for j in range(n)]
    chosen += sorted(range(n), key=lambda j: (-left[j], j))[: keep - half]
    groups = {t: [t] for t in sorted(chosen)}
    for j in range(n):
        if j not in groups:
            groups[max(sorted(chosen), key=lambda t, j=j: cosine(projected[j], projected[t]))].append(j)
    return {t: [sum(projected[j][c] for j in g) / len(g) for c in range(len(projected[0]))] for t, g in groups.items()}


def topv(inputs, outputs, keep, recovered, weights, sigma, temperature, iterations):
    """arXiv:2503.18278: transport with a visual-aware cost, importance of a source, uniform recovery; in loops."""
    n = len(inputs)
    side = round(math.sqrt(n))

    def place(j):
        return j // side, j % side

    def scaled(matrix):
        low, high = min(map(min, matrix)), max(map(max, matrix))
        return [[(x - low) / ((high - low) or 1) for x in row] for row in matrix]

    moved = scaled([[sum((a - b) ** 2 for a, b in zip(x, y, strict=True)) for y in outputs] for x in inputs])
    near = scaled([[1 - math.exp(-(math.dist(place(i), place(j)) ** 2) / 2 / sigma**2) for j in range(n)]
                   for i in range(n)])  # fmt: skip
    centre = scaled([[math.dist(place(i), place(n // 2))] * n for i in range(n)])
    cost = [[sum(w * part[i][j] for w, part in zip(weights, (moved, near, centre), strict=True)) for j in range(n)]
            for i in range(n)]  # fmt: skip
    plan = [[math.exp(-c / temperature) for c in row] for row in cost]
    for _ in range(iterations):
        plan = [[x / sum(row) / n for x in row] for row in plan]
        columns = [sum(plan[i][j] for i in range(n)) for j in range(n)]
        plan = [[x / columns[j] / n for j, x in enumerate(row)] for row in plan]
    importance = [sum(row) for row in plan]
    again = round(recovered * keep)
    first = sorted(range(n), key=lambda i: (-importance[i], i))[: keep - again]
    rest = [i for i in range(n) if i not in first]
    step = max(1, len(rest) // again) if again else 1
    return tuple(sorted(first + [rest[i * step] for i in range(again)]))


def fitprune_numbers(prompts, alpha):
    """github.com/ywh187/FitPrune, statistical_analysis.fit_model: how many tokens leave in each layer.

    Tokens are taken in ascending order while the sum that is left is at least (1 - alpha) times the sum of the full
    model, and one less; those in both lists, by text and by image attention, leave. Mean over prompts, rounded down.
    """
    depth = len(prompts[0])
    away = [set() for _ in prompts]
    numbers = []
    for layer in range(depth):
        total = 0
        for one, gone in zip(prompts, away, strict=True):
            lists = []
            for sums in one[layer]:
                left = sorted((j for j in range(len(sums)) if j not in gone), key=lambda j, s=sums: (s[j], j))
                number = None
                for i in range(len(left)):
                    if sum(sums[j] for j in left[i:]) < (1 - alpha) * sum(sums):
                        number = max(i - 1, 0)
                        break
                lists.append(set(left[: len(left) - 1 if number is None else number]))
            gone |= lists[0] & lists[1]
            total += len(lists[0] & lists[1])
        numbers.append(total // len(prompts))
    return numbers


def sparsevlm_plus(maps, raters, image, base=10000.0):
    """Version 2 of github.com/Gumpest/SparseVLMs: gravity correction and head selection, for one map (heads, n, n).

    modelling_sparse_llama.py divides `attn_logits`, which its attention returns after the softmax, by the product of
    two vectors of ones that are rotated by their positions; score.py, select_attn_head_by_sum, takes the 14 heads with
    the largest sum over raters and image tokens, and attn_postprocess_topk their mean over heads, then over raters.
    Models with fewer than 28 heads are ours: half of the heads.
    """
    heads, n, _ = maps.shape
    width = raters["width"]

    def ones(place):
        out = [0.0] * width
        for f in range(width // 2):
            angle = place / base ** (2 * f / width)
            out[f] = math.cos(angle) - math.sin(angle)
            out[f + width // 2] = math.cos(angle) + math.sin(angle)
        return out

    turned = [ones(p) for p in range(n)]
    corrected = np.zeros_like(maps)
    for i in range(n):
        for j in range(n):
            bias = sum(a * b for a, b in zip(turned[i], turned[j], strict=True)) / math.sqrt(width)
            corrected[:, i, j] = maps[:, i, j] / bias
    rows = corrected[:, raters["rows"]][:, :, image]
    best = sorted(range(heads), key=lambda h: -rows[h].sum())[: 14 if heads >= 28 else math.ceil(heads / 2)]
    return rows[best].mean(axis=(0, 1))
