"""How tests draw finite instances (worlds) that meet a hypothesis by construction, and valid numeric arguments."""

from __future__ import annotations

import functools
import inspect
import math
import re

import numpy as np
from hypothesis import strategies as st

from bounds.framework.theorem import Theorem
from bounds.worlds.families import ABSENT, Family

LOG2 = math.log(2.0)
NEAR_ONE = 1.0 - 1e-16


@st.composite
def worlds(draw, family: Family):
    """A world of the family: dense, sparse or near-deterministic by the drawn logits."""
    variant = draw(st.sampled_from(family.variants))
    logit = st.one_of(st.floats(-3.0, 3.0), st.floats(-30.0, 30.0), st.just(ABSENT))
    logits = draw(st.lists(logit, min_size=variant.logits, max_size=variant.logits))
    free = draw(st.lists(st.floats(-3.0, 3.0), min_size=variant.free, max_size=variant.free))
    # Equal draws would make points coincide, and a regression on coinciding points has no Lipschitz constant.
    apart = 0.1 * np.sin(np.arange(1, variant.free + 1))
    return variant.world(np.concatenate([logits, np.array(free) + apart]))


# What a parameter may be: "p" a probability, "+" a number >= 0, "++" > 0, "real", "count".
KINDS = {
    "p": """p_far p_far_upper p_min p_max r q r_lower q_upper decoding_error mass new_mass mean_mass p_ball
            means centre error_p loss other_loss constant_loss disagreement""",
    "real": "inner mean_image mean_text values_image values_text terms",
    "count": "size n_min n_max n_codes classes heads",
    "++": "d_max share t_positive",
    "distribution": "distribution joint product",
}
KIND = {name: kind for kind, names in KINDS.items() for name in names.split()}
PROBABILITIES = (1e-300, 1e-20, 1e-3, 0.3, 0.5, 0.8, NEAR_ONE)
POSITIVE = (1e-300, 1e-20, 1e-3, 0.3, LOG2, 0.9, 1.7)


def parameters(theorem: Theorem) -> list[str]:
    """Names of the numeric parameters of a theorem's function."""
    options = ("kind", "exact", "same_target", "skipped", "r_complement", "q_complement")
    return [n for n in inspect.signature(theorem).parameters if n not in options]


def kind(theorem: Theorem, name: str) -> str:
    """What a parameter of this theorem may be."""
    if theorem.name == "functional_from_decoding_per_point" and name == "error":
        return "p"
    if theorem.name == "proximal_from_geometric" and name == "t":
        return "++"
    return KIND.get(name, "+")


def scalar(theorem: Theorem, name: str, rng: np.random.Generator) -> float:
    """A valid number, sometimes extreme."""
    what = kind(theorem, name)
    if what == "count":
        return float(rng.integers(2, 30))
    if what == "real":
        return float(rng.normal())
    extremes = PROBABILITIES if what == "p" else POSITIVE
    if rng.random() < 0.4:
        return float(rng.choice(extremes))
    return float(rng.uniform(0.0, 1.0))


def draw_arguments(theorem: Theorem, rng: np.random.Generator) -> dict[str, object]:
    """Valid arguments of a theorem's function, vectors as long as its symbolic form says."""
    shapes = vector_shapes(theorem)
    out: dict[str, object] = {}
    for name in parameters(theorem):
        shape = shapes.get(name, ())
        cells = [scalar(theorem, name, rng) for _ in range(math.prod(shape))]
        out[name] = np.array(cells).reshape(shape) if shape else cells[0]
        if kind(theorem, name) == "distribution":
            out[name] = rng.dirichlet(np.ones(shape[-1]))
        if name == "thresholds":
            out[name] = np.sort(rng.uniform(0.0, 2.0, shape))
    if "n_max" in out or "n_min" in out:
        low, high, size = np.sort(rng.integers(1, 20, 3)) + np.array([0, 0, 1])
        out.update({k: float(v) for k, v in (("n_min", low), ("n_max", high), ("size", size)) if k in out})
    if "n_codes" in out:
        out["n_codes"], out["size"] = rng.integers(1, 6, shapes["n_codes"]).astype(float), 7.0
    if "p_min" in out:
        out["p_min"], out["p_max"] = np.sort([out["p_min"], out["p_max"]]).tolist()
    if "skipped" in inspect.signature(theorem).parameters:
        out["skipped"] = np.array([True, False, False])
    return out


@functools.cache
def vector_shapes(theorem: Theorem) -> dict[str, tuple[int, ...]]:
    """Shapes of vector parameters, read off the indices of the symbols in the symbolic form."""
    shapes: dict[str, tuple[int, ...]] = dict(FIXED.get(theorem.name, {}))
    for symbol in theorem.expr.free_symbols:
        stem, index = re.findall(r"^(.*?)((?:_\d+)*)$", symbol.name)[0]
        if index:
            places = tuple(int(i) + 1 for i in index.strip("_").split("_"))
            old = shapes.get(stem, (0,) * len(places))
            shapes[stem] = tuple(max(a, b) for a, b in zip(old, places, strict=True))
    return shapes


# Where the symbolic form leaves entries out.
FIXED = {
    "skip_set_propagation": {"norms": (3,), "lipschitz": (3,)},
    "geometric_from_thresholds": {"p_far": (4,), "thresholds": (4,)},
    "late_entry_propagation": {"blocks": (1, 2, 2), "beta": (2,), "text_lipschitz": (2,)},
    "early_exit_propagation": {"text_lipschitz": (3,), "beta": (3,)},
}


def substitution(theorem: Theorem, arguments: dict[str, object]) -> dict[str, float]:
    """Values of the symbols of the symbolic form."""
    out = {}
    for symbol in theorem.expr.free_symbols:
        stem, index = re.findall(r"^(.*?)((?:_\d+)*)$", symbol.name)[0]
        places = tuple(int(i) for i in index.strip("_").split("_")) if index else ()
        out[symbol.name] = float(np.asarray(arguments[stem])[places])
    return out
