"""Options that are none: refused by name in one line, by every public estimator that has the option."""

from __future__ import annotations

import inspect
import math
import warnings

import numpy as np
import pytest

import redundancy as rd
from redundancy import checks

N = 60
RNG = np.random.default_rng(0)
X = RNG.standard_normal((N, 2))
Y = X + RNG.standard_normal((N, 2))
Z = X[:, 0] + RNG.standard_normal(N)
A, B, C = RNG.integers(3, size=(3, N))
CRITIC = {"members": ("gaussian",), "folds": 2}
IMAGE = np.arange(N) // 2


def _ridge():
    from sklearn.linear_model import Ridge

    return Ridge()


# A call of every estimator with its needed arguments; the options of interest are added.
CALLS = {
    "broja": (rd.broja, (np.full((2, 2, 2), 0.125),), {}),
    "broja_batch": (rd.broja_batch, (np.full((2, 2, 2, 2), 0.125),), {}),
    "broja_from_samples": (rd.broja_from_samples, (A, B, C), {}),
    "cka": (rd.cka, (X, Y), {}),
    "conditional_entropy": (rd.conditional_entropy, (A, B), {}),
    "conditional_mutual_information": (rd.conditional_mutual_information, (A, B, C), {}),
    "critic_information": (rd.critic_information, (X, Y), CRITIC),
    "entropy": (rd.entropy, (A,), {}),
    "functional": (rd.functional, (Z, X, Y), {"regressor": _ridge()}),
    "gaussian_broja": (rd.gaussian_broja, (np.eye(3), (1, 1, 1)), {}),
    "gaussian_broja_from_samples": (rd.gaussian_broja_from_samples, (Z, X, Y), {}),
    "gaussian_information": (rd.gaussian_information, (X, Y), {}),
    "geometric": (rd.geometric, (X, Y), {}),
    "image_spread": (rd.image_spread, (rd.gaussian_information, X, Y), {"replicates": 3}),
    "informational": (rd.informational, (A, B), {"size": 3}),
    "knn_conditional_mutual_information": (rd.knn_conditional_mutual_information, (X, Y, Z), {}),
    "knn_entropy": (rd.knn_entropy, (X,), {}),
    "ksg": (rd.ksg, (X, Y), {}),
    "mixed_information": (rd.mixed_information, (X, Y), {}),
    "mmse": (rd.mmse, (Z, X), {"regressor": _ridge()}),
    "mutual_information": (rd.mutual_information, (A, B), {}),
    "permutation_test": (rd.permutation_test, (rd.gaussian_information, X, Y), {"permutations": 9}),
    "procrustes": (rd.procrustes, (X, Y), {}),
    "proximal": (rd.proximal, (X, Y), {}),
    "residual_entropy": (rd.residual_entropy, (X, Y), {"folds": 2}),
    "risk_difference": (rd.risk_difference, (np.abs(Z), np.abs(X[:, 0])), {"largest_loss": 10.0}),
    "row_distances": (rd.row_distances, (X, Y), {}),
    "subspace_angles": (rd.subspace_angles, (X, Y), {}),
    "summary_information": (rd.summary_information, (X, Y), {"folds": 2}),
    "unique_information": (rd.unique_information, (A, B, C), {}),
    "usable_information": (rd.usable_information, (Z > 0, X), {"folds": 2}),
    "Codebook.fit": (rd.Codebook.fit, (X,), {"size": 4}),
    "Codebook.encode": (rd.Codebook.from_centres(np.eye(2)).encode, (X,), {}),
}
NAN, INF = math.nan, math.inf
COUNT = [0, -1, 2.5, True, NAN, INF, "3", [2]]
WORD = ["nonsense", 3, True, None]
FLAG = ["no", 2, None, NAN]
BAD = {
    "baseline": FLAG,
    "calibrate": FLAG,
    "debiased": FLAG,
    "whiten": FLAG,
    "rng": ["a", 1.5, -1, True, NAN, object(), np.random.Generator, ["x"]],
    "folds": [*COUNT, 1, N + 1],
    "k": [*COUNT, None, N],
    "permutations": [*COUNT, None],
    "replicates": [*COUNT, None, 1],
    "chunk": [*COUNT, None],
    "size": [*COUNT, 2**40],
    "components": [*COUNT, None, "two", 3],
    "parts": [*COUNT, None, 1],
    "dimensions": [*COUNT, 3],
    "workers": [0, -2, 1.5, True, "2", None],
    "jitter": [-1, NAN, INF, "a", True, None, [0.1]],
    "mix": [0, 1, NAN, -1, "a", True, None],
    "rank_tolerance": [0, 1, NAN, "a", None, True, [0.1]],
    "tol": [0, -1, NAN, INF, "a", None, True, [1]],
    "largest_loss": [0, -1, NAN, INF, "a", None, True],
    "t": [-1, NAN, INF, "a", True, None, [], [[1]]],
    "confidence": [0, 1, NAN, "a", True],
    "radius": [-1, NAN, INF, "a", True, 0.1],  # also without a codebook
    "on_doubt": WORD,
    "norm": WORD,
    "scale": WORD,
    "surface": WORD,
    "summary": WORD,
    "estimator": WORD,
    "method": WORD,
    "kind": WORD,
    "exchange": WORD,
    "distance": WORD,
    "variant": [0, 3, True, "1", NAN],
    "members": [(), ("x",), "gaussian", None, 5],
    "critics": [{"mine": None}, {"gaussian": print}, "x", 5, [3]],
    "regressor": ["ridge", type(_ridge()), 5, object()],
    "classifier": ["lr", type(_ridge()), 5],
    "classes": [[0], [0, 1.5], [], 5, "ab"],
    "codebook": ["x", 5, np.eye(3)],
    "task": ["nonsense", 3, True],
    "target_range": [(0,), (1, 0), "ab", (NAN, 1), 5, (True, False)],
    "dims": [3, (1, 1), (1, 1, 2), (0, 1, 2), ("a", 1, 1), None, (1.5, 0.5, 1), (True, 1, 1)],
    "sizes": [(3, 3), (2, 3, 3), 3, "abc", (3, 3, NAN), (3, 3, True)],
    "groups": ["image", 5, [1, 2], X, [None] * N, [1j] * N, [object() for _ in range(N)], {"a": 1}, [[i] for i in A]],
}
DATA = {"x", "y", "z", "loss_x", "loss_y", "pmf", "pmfs", "covariance", "statistic", "estimator", "arrays", "settings"}
DATA |= {"x_codes", "y_codes", "states"}


def options(name):
    call = CALLS[name][0]
    return [
        p for p in inspect.signature(call).parameters if p in BAD and not (p == "estimator" and call is rd.image_spread)
    ]


def call(name, **changed):
    function, data, settings = CALLS[name]
    if name == "gaussian_broja" and "dims" in changed:
        data = data[:1]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        return function(*data, **(settings | changed))


def test_every_option_of_every_estimator_is_swept():
    functions = {name for name in rd.__all__ if inspect.isfunction(getattr(rd, name))}
    assert functions <= set(CALLS)
    for function, _, _ in CALLS.values():
        assert set(inspect.signature(function).parameters) <= set(BAD) | DATA


@pytest.mark.parametrize(("name", "option"), [(name, option) for name in CALLS for option in options(name)])
def test_an_odd_option_is_refused_in_one_line(name, option):
    call(name)
    for value in BAD[option]:
        if isinstance(value, int) and value == 2**40 and name.startswith("Codebook"):
            continue
        with pytest.raises((ValueError, TypeError), match=r"expected") as error:
            call(name, **{option: value})
        assert "\n" not in str(error.value), value
        assert "/redundancy/" in error.traceback[-1].path.as_posix(), (value, error.value)


@pytest.mark.parametrize(
    ("name", "unread"),
    [
        ("critic_information", {"k": 4}),
        ("informational", {"mix": 0.1}),
        ("informational", {"distance": "angular"}),
        ("summary_information", {"k": 4, "estimator": "gaussian"}),
        ("Codebook.fit", {"parts": 3}),
        ("Codebook.fit", {"dimensions": 4}),
        ("knn_entropy", {"surface": "sphere", "jitter": 0.1}),
        ("broja_from_samples", {"confidence": 0.9}),
    ],
)
def test_an_option_that_nothing_reads_is_refused(name, unread):
    with pytest.raises(ValueError, match="expected"):
        call(name, **unread)


@pytest.mark.parametrize("rng", [np.int64(3), np.uint8(3), [3], np.random.SeedSequence(3), np.random.default_rng(3)])
def test_a_seed_of_any_whole_kind(rng):
    assert checks.generator(rng).random() == np.random.default_rng(3).random()


def test_numpy_numbers_are_options_too():
    for name, option, value in (
        ("ksg", "k", np.int64(3)),
        ("ksg", "variant", np.int64(1)),
        ("residual_entropy", "folds", np.float64(2.0)),
        ("summary_information", "components", np.int32(1)),
        ("critic_information", "folds", np.int64(2)),
        ("cka", "debiased", np.True_),
        ("subspace_angles", "rank_tolerance", np.float32(1e-6)),
        ("Codebook.encode", "chunk", np.int64(7)),
        ("proximal", "t", np.float32(0.1)),
    ):
        call(name, **{option: value})
