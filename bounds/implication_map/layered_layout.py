"""Places for the nodes of a directed graph: in layers from left to right, ordered so that few arrows cross."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from itertools import combinations, pairwise
from typing import TypeAlias

Edge: TypeAlias = tuple[str, str]
_SWEEPS = 12


def layered(nodes: Sequence[str], edges: Iterable[Edge]) -> dict[str, tuple[float, float]]:
    """Place nodes in layers (Sugiyama, Tagawa and Toda 1981): x is the longest path that leads to a node.

    Within a layer nodes are sorted by the mean place of their neighbours, sweeping forth and back; the order with the
    fewest crossings is kept. An arrow that closes a circle has no say, and one that spans layers holds a place in each.

    Parameters
    ----------
    nodes : sequence of str
        Their order decides between equals, so that equal graphs are drawn equally.
    edges : iterable of (str, str)
        Arrows between different nodes.

    Returns
    -------
    dict of str to (float, float)
        Layer and height; heights within a layer are centred on 0 and differ by 1, in short layers by up to 2.

    Examples
    --------
    >>> layered(["a", "b", "c", "d"], [("a", "d"), ("b", "c")])
    {'a': (0.0, 0.5), 'b': (0.0, -0.5), 'd': (1.0, 0.5), 'c': (1.0, -0.5)}
    """
    forward = _without_circles(nodes, edges)
    rank = _ranks(nodes, forward)
    layers, links = _with_spans(nodes, forward, rank)
    best, fewest = layers, crossings(layers, links)
    for sweep in range(_SWEEPS):
        layers = _sorted_by_neighbours(layers, links, downward=sweep % 2 == 0)
        found = crossings(layers, links)
        if found < fewest:
            best, fewest = layers, found
    known = set(nodes)
    real = [[name for name in layer if name in known] for layer in best]
    tallest = max(map(len, real), default=0)
    steps = [min(2.0, (tallest - 1) / (len(layer) - 1)) if len(layer) > 1 else 1.0 for layer in real]
    return {
        name: (float(x), step * ((len(layer) - 1) / 2 - place))
        for x, (layer, step) in enumerate(zip(real, steps, strict=True))
        for place, name in enumerate(layer)
    }


def crossings(layers: Sequence[Sequence[str]], links: Collection[Edge]) -> int:
    """How many pairs of links between neighbouring layers cross."""
    count = 0
    for left, right in pairwise(layers):
        first, second = ({name: place for place, name in enumerate(layer)} for layer in (left, right))
        between = [(first[a], second[b]) for a, b in links if a in first and b in second]
        count += sum((a - c) * (b - d) < 0 for (a, b), (c, d) in combinations(between, 2))
    return count


def _without_circles(nodes: Sequence[str], edges: Iterable[Edge]) -> list[Edge]:
    """The arrows, each once, without those that lead back to where they come from."""
    kept: list[Edge] = []
    after: dict[str, set[str]] = {name: set() for name in nodes}
    for source, target in dict.fromkeys(edges):
        if source != target and not _reaches(target, source, after):
            after[source].add(target)
            kept.append((source, target))
    return kept


def _reaches(start: str, end: str, after: Mapping[str, set[str]]) -> bool:
    seen, waiting = {start}, [start]
    while waiting:
        name = waiting.pop()
        if name == end:
            return True
        fresh = after[name] - seen
        seen |= fresh
        waiting += fresh
    return False


def _ranks(nodes: Sequence[str], edges: Collection[Edge]) -> dict[str, int]:
    """The length of the longest path to each node."""
    rank = dict.fromkeys(nodes, 0)
    for _ in nodes:
        for source, target in edges:
            rank[target] = max(rank[target], rank[source] + 1)
    return rank


def _with_spans(
    nodes: Sequence[str], edges: Collection[Edge], rank: Mapping[str, int]
) -> tuple[list[list[str]], list[Edge]]:
    """Layers with a stand-in for each layer that an arrow passes, and links between neighbouring layers alone."""
    layers: list[list[str]] = [[] for _ in range(max(rank.values(), default=-1) + 1)]
    for name in nodes:
        layers[rank[name]].append(name)
    links: list[Edge] = []
    for source, target in edges:
        last = source
        for between in range(rank[source] + 1, rank[target]):
            passing = f"{source} -> {target} at {between}"
            layers[between].append(passing)
            links.append((last, passing))
            last = passing
        links.append((last, target))
    return layers, links


def _sorted_by_neighbours(
    layers: Sequence[Sequence[str]], links: Collection[Edge], *, downward: bool
) -> list[list[str]]:
    """Every layer sorted by the mean place of its nodes' neighbours in the one before; others stay where they are."""
    ordered = [list(layer) for layer in layers]
    sweep = range(1, len(ordered)) if downward else range(len(ordered) - 2, -1, -1)
    for number in sweep:
        other = ordered[number - 1 if downward else number + 1]
        place = {name: position for position, name in enumerate(other)}
        pairs = [(b, a) if downward else (a, b) for a, b in links]
        near = {name: [place[b] for a, b in pairs if a == name and b in place] for name in ordered[number]}
        here = {name: position for position, name in enumerate(ordered[number])}
        mean = {name: sum(found) / len(found) if found else here[name] for name, found in near.items()}
        ordered[number].sort(key=mean.__getitem__)
    return ordered
