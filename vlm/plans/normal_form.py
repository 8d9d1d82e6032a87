"""Normal form of a plan's parts, so that plans compare by what they do, and what parts are refused."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from math import isfinite
from typing import Any

from vlm.plans.ranges import EVERYTHING, Intervals, contains, intersection, merged, without
from vlm.plans.text_form import FEATURES, Keep, Merge, Prune, Terms


def segments(keeps: Iterable[Keep]) -> tuple[Keep, ...]:
    """Disjoint layer ranges with the tokens kept in each: several keeps intersect, keeping all tokens is left out."""
    given = [(merged([(a, b)]), merged(tokens, "token")) for a, b, tokens in keeps]
    cuts = sorted({c for layers, _ in given for a, b in layers for c in (a, b) if c is not None})
    out: list[Keep] = []
    for start, stop in zip(cuts, [*cuts[1:], None][: len(cuts)], strict=True):
        tokens = EVERYTHING
        for layers, ordinals in given:
            if contains(layers, start):
                tokens = intersection(tokens, ordinals)
        if tokens == EVERYTHING:
            continue
        if out and out[-1][1:] == (start, tokens):
            out[-1] = (out[-1][0], stop, tokens)
        else:
            out.append((start, stop, tokens))
    return tuple(out)


def fractions(
    pruned: list[Prune], ranked: list[Prune], leaving: list[Prune], vision: Intervals
) -> dict[str, tuple[Prune, ...]]:
    """Choices by layer, without those that keep no less than an earlier one or meet no image tokens.

    In one layer tokens are pruned, then ranked, and then they leave.
    """
    names = ("pruned", "ranked", "leaving")
    each = [(k, order, v) for order, pairs in enumerate((pruned, ranked, leaving)) for k, v in pairs]
    out: dict[str, tuple[Prune, ...]] = dict.fromkeys(names, ())
    least = 1.0
    for layer, order, value in sorted(each):
        if 0 < value < least and without(((layer, None),), vision):
            out[names[order]] += ((layer, value),)
            least = value
    return out


def fraction(layer: int, value: float, choice: str) -> Prune:
    """A checked choice of a fraction of the tokens."""
    ((first, _),) = merged([(layer, None)])
    if choice == "pruning" and first < 1:
        raise ValueError("plan: pruning needs a layer >= 1, since it ranks by the attention of the layer before, got 0")
    if isinstance(value, bool) or not 0 <= float(value) <= 1:
        raise ValueError(f"plan: expected a fraction of image tokens in [0, 1], got {value!r}")
    if choice == "leaving" and value == 0:
        raise ValueError("plan: leaving needs a fraction above 0; to remove all image tokens use vision:")
    return first, float(value)


def checked_merges(merges: Iterable[Merge], vision: Intervals) -> tuple[Merge, ...]:
    """Merges in order, without those that change nothing or meet no image tokens; two sums of one token are refused."""
    out: dict[tuple[int, int], Terms] = {}
    for layer, token, terms in merges:
        first = FEATURES if layer == FEATURES else merged([(layer, None)])[0][0]
        ((number, _),) = merged([(token, None)], "token")
        weights: dict[int, float] = {}
        for other, weight in terms:
            ((source, _),) = merged([(other, None)], "token")
            if isinstance(weight, bool) or not isfinite(weight):
                raise ValueError(f"plan: expected finite weights of a merge, got {weight!r}")
            weights[source] = weights.get(source, 0.0) + float(weight)
        found = tuple(sorted(weights.items()))
        if not found:
            raise ValueError(f"plan: expected at least one (token, weight) for the merge of token {number}, got none")
        if out.setdefault((first, number), found) != found:
            raise ValueError(f"plan: two different merges of image token {number} before the same layer; give one")
    kept = ((layer, token, terms) for (layer, token), terms in sorted(out.items()) if terms != ((token, 1.0),))
    return tuple(merge for merge in kept if without(((max(0, merge[0]), None),), vision))


def after(number: int) -> int:
    """The next number; anything else is passed on, for the check of ranges to refuse."""
    return number + 1 if hasattr(number, "__index__") and not isinstance(number, bool) else number


def refuse_blind(fields: Mapping[str, Any], given: object) -> None:
    """Refuse choices by an attention that the plan removes; `given` is the plan for the message."""
    gone = tuple((name, fields[name]) for name in ("vision", "text", "attention"))
    still = (*gone, ("the image tokens' queries", fields["frozen"]))
    for choice, pairs, back, parts in (
        ("pruning", fields["pruned"], 1, gone),
        ("ranking", fields["ranked"], 0, gone),
        ("leaving", fields["leaving"], 0, still),
    ):
        for layer, _ in pairs:
            for what, ranges in parts:
                if contains(ranges, layer - back):
                    verb = {"pruning": "prune", "ranking": "rank", "leaving": "leave"}[choice]
                    whose = "the text's and the image's" if choice == "leaving" else "the last text token's"
                    raise ValueError(
                        f"plan {given}: {choice} at layer {layer} ranks image tokens by {whose} attention "
                        f"in layer {layer - back}, where the plan removes {what}; {verb} at another layer"
                    )
