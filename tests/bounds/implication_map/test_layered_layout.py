"""The map's layout: arrows to the right, no two nodes in one place, no crossing where none is needed."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import bounds
from bounds.implication_map.layered_layout import crossings, layered

NAMES = [chr(97 + i) for i in range(9)]
GRAPHS = st.lists(st.tuples(st.sampled_from(NAMES), st.sampled_from(NAMES)), max_size=20)


@given(GRAPHS)
@settings(max_examples=60, deadline=None)
def test_every_node_has_a_place_of_its_own_and_arrows_lead_right(edges):
    places = layered(NAMES, edges)
    assert set(places) == set(NAMES)
    assert len(set(places.values())) == len(NAMES)
    # Along arrows that close no circle, taken in their order, x grows.
    acyclic = [(a, b) for a, b in edges if a < b]
    for source, target in acyclic:
        assert layered(NAMES, acyclic)[source][0] < layered(NAMES, acyclic)[target][0]
    assert layered(NAMES, edges) == places


def test_arrows_that_need_not_cross_do_not():
    """A tree and a ladder whose nodes are named in the worst order."""
    for edges in (
        [("a", "f"), ("a", "e"), ("b", "d"), ("b", "c"), ("c", "i"), ("f", "g"), ("d", "h")],
        [("a", "d"), ("b", "c"), ("d", "e"), ("c", "f"), ("e", "h"), ("f", "g")],
    ):
        nodes = sorted({name for edge in edges for name in edge})
        places = layered(nodes, edges)
        layers = [[n for n in nodes if places[n][0] == x] for x in range(1 + int(max(x for x, _ in places.values())))]
        assert crossings([sorted(layer, key=lambda n: -places[n][1]) for layer in layers], edges) == 0
        assert crossings(layers, edges) > 0


def test_a_circle_is_placed_too():
    places = layered(["a", "b", "c"], [("a", "b"), ("b", "c"), ("c", "a")])
    assert [places[name][0] for name in "abc"] == [0.0, 1.0, 2.0]


def test_the_map_draws_everything_that_follows_without_overlap():
    matplotlib = pytest.importorskip("matplotlib")
    matplotlib.use("Agg")
    known = {"t": 0.05, "p_far": 0.03, "radius": 1.0, "size": 64, "n_min": 1, "n_max": 1}
    found = bounds.implications(lipschitz_x=1.0, lipschitz_y=1.0, geometric=0.02, **known)
    ax = found.plot()
    figure = ax.figure
    figure.canvas.draw()
    boxes = [text.get_bbox_patch().get_window_extent() for text in ax.texts if text.get_bbox_patch() is not None]
    named = " ".join(text.get_text() for text in ax.texts)
    assert all(name.replace("_", " ") in named for name in found)
    assert len(boxes) >= 3
    for first, second in combinations(boxes, 2):
        assert not (np.minimum(first.max, second.max) > np.maximum(first.min, second.min)).all()
