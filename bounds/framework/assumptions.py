"""The hypotheses of the theorems: each is defined once, in words, with a test for a finite instance (world)."""

from __future__ import annotations

import numpy as np

from bounds.framework.theorem import Assumption, World

PAPER = "Skip-It? Theoretical Conditions for Layer Skipping in Vision-Language Models, arXiv:2509.25584"
OURS = "docs/explanation/theory"
_INDEPENDENT = 1e-9  # nats; conditional information below this is rounding


def _finite_world(world: World) -> World:
    return getattr(world, "world", world)


UNIT_NORM = Assumption("unit norm", "states of norm one", lambda w: _finite_world(w).unit_norm)
LABEL_CHAIN = Assumption(
    "T - X - Y",
    "T independent of the later state Y given the earlier state X (T - X - Y)",
    lambda w: _finite_world(w).information_ty_given_x <= _INDEPENDENT,
)
LATER_CHAIN = Assumption(
    "X - Y - T",
    "T independent of the earlier state X given the later state Y (X - Y - T)",
    lambda w: _finite_world(w).information_tx_given_y <= _INDEPENDENT,
)
TARGET_IS_X = Assumption(
    "T = X",
    "T and X in bijection (T = X)",
    lambda w: bool((np.count_nonzero(w.tx, axis=0) <= 1).all() and (np.count_nonzero(w.tx, axis=1) <= 1).all()),
)
LIPSCHITZ_X = Assumption(
    "Lip x",
    "a finite Lipschitz constant of x -> E[T | X = x, Y = y] on the support of X given Y = y",
    lambda w: bool(np.isfinite(_finite_world(w).lipschitz_x)),
)
LIPSCHITZ_Y = Assumption(
    "Lip y",
    "a finite Lipschitz constant of y -> E[T | X = x, Y = y] on the support of Y given X = x",
    lambda w: bool(np.isfinite(_finite_world(w).lipschitz_y)),
)
LIPSCHITZ_HEAD = Assumption(
    "Lipschitz head",
    "one predictor applied to both states, with a finite Lipschitz constant on all points",
    lambda w: bool(np.isfinite(w.lipschitz)),
)
LIPSCHITZ_NEAR = Assumption(
    "Lip x, near",
    "a finite Lipschitz constant of x -> E[T | X = x, Y = y] on the support points within the threshold of y",
    lambda w: bool(np.isfinite(w.lipschitz_x_near)),
)
LOSS_IN_UNIT_INTERVAL = Assumption(
    "loss in [0, 1]",
    "a loss with values in [0, 1]",
    lambda w: bool((w.values >= 0).all() and (w.values <= 1).all()),
)
SELF_IN_BALL = Assumption(
    "covered",
    "at least one codeword within the threshold of every y that occurs",
    lambda w: bool(((~w.far).sum(axis=0)[w.y > 0] >= 1).all()),
)
ONE_CODE_PER_BALL = Assumption(
    "one codeword per ball",
    "at most one codeword within the threshold of every y that occurs",
    lambda w: bool(((~w.far).sum(axis=0)[w.y > 0] <= 1).all()),
)
LIPSCHITZ_BOTH = (LIPSCHITZ_X, LIPSCHITZ_Y)
ONE_HOT = Assumption(
    "one-hot",
    "values of T that are the rows of an identity matrix",
    lambda w: w.values.shape[0] == w.values.shape[1] and bool((w.values == np.eye(len(w.values))).all()),
)
SUB_GAUSSIAN = Assumption(
    "sub-Gaussian",
    "every projection of T given Y = y sigma^2-sub-Gaussian",
    # On finite instances the best sigma is known for a scalar T with two values only.
    lambda w: w.values.shape == (2, 1),
)
SCALAR = Assumption("scalar", "a scalar T", lambda w: bool(w.values.shape[1] == 1))
IN_UNIT_BALL = Assumption(
    "unit ball",
    "values of T in the unit ball",
    lambda w: bool(((w.values**2).sum(axis=1) <= 1.0 + 1e-12).all()),
)
LAYER_CHAIN = Assumption("Markov layers", "T - X_0 - X_1 - ... a Markov chain through all layers", lambda w: w.markov)
DETERMINISTIC_LAYERS = Assumption(
    "deterministic layers", "every layer a function of the one before it", lambda w: w.deterministic
)
UNIT_NORM_LAYERS = Assumption(
    "unit-norm layers", "states of norm one in every layer", lambda w: all(s.unit_norm for s in w.steps)
)
EARLY_EXIT = Assumption("early exit", "image tokens used from layer 0 on", lambda w: w.entry == 0)
LATE_ENTRY = Assumption("late entry", "image tokens used until the last layer", lambda w: w.exit >= len(w.maps))


def _standing(name: str, words: str) -> Assumption:
    """A hypothesis that every finite instance meets by construction."""
    return Assumption(name, words, lambda _: True, standing=True)


METRIC = _standing("metric", "a metric, for the triangle inequality")
DISTANCE = _standing("distance", "a measurable distance in [0, d_max], no metric")
SQUARE_INTEGRABLE = _standing("E ||T||^2 < inf", "E ||T||^2 < infinity")
BOUNDED_TARGET = _standing("bounded T", "a target with ||T - c|| <= B for some fixed c")
FINITE_ENTROPY = _standing("finite entropies", "discrete variables with finite entropies")
DISCRETE_X = _standing("discrete X", "a discrete earlier state X with finite entropy")
FINITE_ALPHABETS = _standing("finite alphabets", "finite alphabets")
CODEBOOK = _standing("codebook", "X in a finite codebook V fixed in advance")
FINITE_CLASSES = _standing("classes", "a target with finitely many classes")
PROPERTIES_OF_PID = _standing("D8", "a decomposition with the properties of D8, BROJA among them")
UNCHANGED_SCORES = _standing("unchanged scores", "unchanged scores and values of the keys that are kept")
LIPSCHITZ_REGION = _standing(
    "Lipschitz region", "Lipschitz constants on a product region that holds the states of both runs and their mixtures"
)
SAME_ANSWER_RULE = _standing("arg max", "an answer that is the arg max of the logits")
AFTER_FINAL_NORM = _standing("after the final norm", "Delta h taken after the final norm, logits linear in it")
ANSWER_ONLY = _standing(
    "score of the answer",
    "a 0-1 score that depends on the whole decoded text only, and deterministic decoding",
)
NONZERO_STATES = Assumption(
    "non-zero states",
    "states other than zero in every layer",
    lambda w: all(bool((np.abs(p).max(axis=-1) > 0).all()) for p in w.points),
)
