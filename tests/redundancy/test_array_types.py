"""Every public estimator takes every array type that holds the same numbers, or refuses it by name."""

from __future__ import annotations

import inspect
import warnings

import numpy as np
import pandas as pd
import pytest
import scipy.sparse
from hypothesis import given, settings
from hypothesis import strategies as st

import redundancy as rd
from redundancy import checks

torch = pytest.importorskip("torch")

N = 60
RNG = np.random.default_rng(0)
# Numbers that bfloat16 holds exactly, so that every type must give the very same result.
X = np.round(4 * RNG.standard_normal((N, 2))) / 4 + RNG.permutation(N)[:, None] / 1.0
Y = np.round(X / 2 + RNG.standard_normal((N, 2))) + RNG.permutation(N)[:, None] / 1.0
Z = np.round(X[:, 0] / 4 + RNG.standard_normal(N))
LABEL = (X[:, 0] > X[:, 0].mean()).astype(np.int64)
A, B = RNG.integers(3, size=N), RNG.integers(3, size=N)
IMAGE = np.repeat(np.arange(N // 2), 2)
TABLE = np.full((2, 2, 2), 0.125)

STATES = {
    "cka": lambda x, y: rd.cka(x, y, groups=IMAGE),
    "critic_information": lambda x, y: rd.critic_information(
        x, y, members=("gaussian",), folds=2, rng=0, on_doubt="ignore"
    ),
    "functional": lambda x, y: rd.functional(Z, x, y, folds=2, rng=0, regressor=_ridge()),
    "gaussian_broja_from_samples": lambda x, y: _total(rd.gaussian_broja_from_samples(Z, x, y)),
    "gaussian_information": lambda x, y: rd.gaussian_information(x, y),
    "geometric": lambda x, y: rd.geometric(x, y, groups=IMAGE),
    "image_spread": lambda x, y: rd.image_spread(rd.gaussian_information, x, y, rng=0).value,
    "knn_conditional_mutual_information": lambda x, y: rd.knn_conditional_mutual_information(
        x, y, RNG_COLUMN, on_doubt="ignore"
    ),
    "knn_entropy": lambda x, y: rd.knn_entropy(x, on_doubt="ignore"),
    "ksg": lambda x, y: rd.ksg(x, y, on_doubt="ignore"),
    "mixed_information": lambda x, y: rd.mixed_information(x, y, on_doubt="ignore"),
    "mmse": lambda x, y: rd.mmse(Z, x, folds=2, rng=0, regressor=_ridge()),
    "mmse, target": lambda x, y: rd.mmse(x, Y, folds=2, rng=0, regressor=_ridge()),
    "functional, target": lambda x, y: rd.functional(x, X, Y[:, :1], folds=2, rng=0, regressor=_ridge()),
    "knn_conditional_mutual_information, condition": lambda x, y: rd.knn_conditional_mutual_information(
        X, Y, x, on_doubt="ignore"
    ),
    "knn_entropy, whitened": lambda x, y: rd.knn_entropy(x, whiten=True, on_doubt="ignore"),
    "summary_information, cca": lambda x, y: rd.summary_information(
        x, y, summary="cca", estimator="gaussian", components=1, folds=2, rng=0, on_doubt="ignore"
    ),
    "permutation_test": lambda x, y: rd.permutation_test(rd.gaussian_information, x, y, permutations=19, rng=0).p_value,
    "procrustes": lambda x, y: rd.procrustes(x, y),
    "proximal": lambda x, y: rd.proximal(x, y, groups=IMAGE),
    "residual_entropy": lambda x, y: rd.residual_entropy(x, y, folds=2, rng=0, on_doubt="ignore"),
    "risk_difference": lambda x, y: rd.risk_difference(np.abs(Z), x[:, 0] if hasattr(x, "shape") else x, side="two"),
    "row_distances": lambda x, y: rd.row_distances(x, y).sum(),
    "subspace_angles": lambda x, y: rd.subspace_angles(x, y).value[0],
    "summary_information": lambda x, y: rd.summary_information(x, y, folds=2, rng=0, on_doubt="ignore"),
    "usable_information": lambda x, y: rd.usable_information(LABEL, x, folds=2, rng=0),
}
LABELS = {
    "broja_from_samples": lambda a, b: _total(rd.broja_from_samples(LABEL, a, b)),
    "conditional_entropy": lambda a, b: rd.conditional_entropy(a, b),
    "conditional_mutual_information": lambda a, b: rd.conditional_mutual_information(a, b, LABEL),
    "entropy": lambda a, b: rd.entropy(a),
    "informational": lambda a, b: rd.informational(a, b, size=3),
    "mixed_information, given": lambda a, b: rd.mixed_information(X, Y, a, k=2, on_doubt="ignore"),
    "mmse, classes": lambda a, b: rd.mmse(a, X, folds=2, rng=0, regressor=_ridge()),
    "mutual_information": lambda a, b: rd.mutual_information(a, b),
    "unique_information": lambda a, b: rd.unique_information(LABEL, a, b),
    "usable_information": lambda a, b: rd.usable_information(a, X, folds=2, rng=0),
}
GROUPS = {
    "cka": lambda g: rd.cka(X, Y, groups=g),
    "mutual_information": lambda g: rd.mutual_information(A, B, groups=g),
    "broja_from_samples": lambda g: _total(rd.broja_from_samples(LABEL, A, B, groups=g)),
    "geometric": lambda g: rd.geometric(X, Y, groups=g),
    "informational": lambda g: rd.informational(A, B, size=3, groups=g),
    "mmse": lambda g: rd.mmse(Z, X, folds=2, rng=0, groups=g, regressor=_ridge()),
    "proximal": lambda g: rd.proximal(X, Y, groups=g),
    "usable_information": lambda g: rd.usable_information(LABEL, X, folds=2, rng=0, groups=g),
}
TABLES = {
    "broja": lambda p: rd.broja(p).synergistic,
    "broja_batch": lambda p: rd.broja_batch([p, p]).synergistic[0],
    "entropy": lambda p: rd.conditional_mutual_information(p, kind="pmf"),
}
# What takes no arrays, or is tested with the others.
ELSEWHERE = {"Codebook", "Distance", "Estimate", "PID", "PIDTable", "Quantity"}
RNG_COLUMN = RNG.permutation(N).astype(float)

SAME = {
    "list": lambda a: a.tolist(),
    "fortran": np.asfortranarray,
    "strided": lambda a: np.repeat(a, 2, axis=0)[::2],
    "read-only": lambda a: _read_only(a),
    "masked nowhere": lambda a: np.ma.array(a, mask=np.zeros(a.shape, dtype=bool)),
    "float32": lambda a: a.astype(np.float32),
    "float16": lambda a: a.astype(np.float16),
    "object": lambda a: a.astype(object),
    "DataFrame": lambda a: pd.DataFrame(a),
    "nullable": lambda a: pd.DataFrame(a).astype("Float64"),
    "mixed frame": lambda a: pd.DataFrame(a).astype({0: object}),
    "torch": lambda a: torch.tensor(a),
    "torch bfloat16": lambda a: torch.tensor(a).to(torch.bfloat16),
    "torch float16": lambda a: torch.tensor(a).to(torch.float16),
    "torch with gradient": lambda a: torch.tensor(a, requires_grad=True),
    "torch strided": lambda a: torch.tensor(np.repeat(a, 2, axis=0))[::2],
}
NO_NUMBERS = {
    "masked": lambda a: np.ma.array(a, mask=np.arange(a.size).reshape(a.shape) == 3),
    "list of masked rows": lambda a: [*a[:-1], np.ma.array(a[-1], mask=True)],
    "sparse": scipy.sparse.csr_matrix,
    "torch without data": lambda a: torch.zeros(a.shape, device="meta"),
    "sparse torch": lambda a: torch.tensor(a).to_sparse(),
    "complex": lambda a: a + 1j,
    "text": lambda a: a.astype(str),
    "text objects": lambda a: a.astype(str).astype(object),
    "None": lambda a: None,
    "dates": lambda a: a.astype("datetime64[s]"),
    "missing": lambda a: np.where(np.arange(a.size).reshape(a.shape) == 3, None, a.astype(object)),
    "nullable missing": lambda a: pd.DataFrame(a).astype("Float64").mask(pd.DataFrame(a) == a[0, 0]),
    "NaN": lambda a: np.where(np.arange(a.size).reshape(a.shape) == 3, np.nan, a),
}
SAME_LABELS = {
    "list": lambda a: a.tolist(),
    "int8": lambda a: a.astype(np.int8),
    "uint64": lambda a: a.astype(np.uint64),
    "object": lambda a: a.astype(object),
    "Series": pd.Series,
    "nullable": lambda a: pd.Series(a).astype("Int64"),
    "categorical": lambda a: pd.Series(a).astype("category"),
    "torch": torch.tensor,
    "list of tensors": lambda a: list(torch.tensor(a)),
    "masked nowhere": lambda a: np.ma.array(a),
}
SAME_TEXT = {
    "text": lambda a: np.array(["a", "b", "c"])[a],
    "text objects": lambda a: np.array(["a", "b", "c"], dtype=object)[a],
    "Series of text": lambda a: pd.Series(["a", "b", "c"])[a],
    "string dtype": lambda a: pd.Series(["a", "b", "c"], dtype="string")[a],
    "categorical text": lambda a: pd.Categorical(["a", "b", "c"])[a],
}
if hasattr(np.dtypes, "StringDType"):  # from NumPy 2
    SAME_TEXT["NumPy strings"] = lambda a: np.array(["a", "b", "c"], dtype=np.dtypes.StringDType())[a]
NO_LABELS = {
    "masked": lambda a: np.ma.array(a, mask=np.arange(a.size) == 3),
    "None": lambda a: None,
    "missing object": lambda a: np.where(np.arange(a.size) == 3, None, a.astype(object)),
    "NaN in a list": lambda a: [*a[:-1].astype(str).tolist(), float("nan")],
    "nullable missing": lambda a: pd.Series(a).astype("Int64").mask(np.arange(a.size) == 3),
    "categorical missing": lambda a: pd.Series(a).astype("category").mask(np.arange(a.size) == 3),
    "string missing": lambda a: pd.Series(a).astype("string").mask(np.arange(a.size) == 3),
    "two types": lambda a: [*a[:-1].tolist(), "0"],
    "sparse": lambda a: scipy.sparse.csr_matrix(a),
    "complex": lambda a: a + 1j,
}
NO_GROUPS = {key: value for key, value in NO_LABELS.items() if key != "None"} | {
    "NaT": lambda a: np.where(np.arange(a.size) == 3, np.datetime64("NaT"), np.datetime64("2020-01-01") + a),
    "NaT objects": lambda a: pd.Series(pd.to_datetime(a, unit="D")).mask(np.arange(a.size) == 3).astype(object),
    "NaN": lambda a: np.where(np.arange(a.size) == 3, np.nan, a),
}


def _ridge():
    from sklearn.linear_model import Ridge

    return Ridge()


def _read_only(a):
    out = a.copy()
    out.flags.writeable = False
    return out


def _total(pid):
    return pid.redundant + 2 * pid.unique_x + 3 * pid.unique_y + 5 * pid.synergistic


def value_of(result):
    return np.asarray(getattr(result, "value", result), dtype=float)


def quiet(call, *arguments):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        return value_of(call(*arguments))


def existing(table):
    return [name for name in table if hasattr(rd, name.split(",")[0])]


def test_every_public_estimator_is_swept():
    functions = {name for name in rd.__all__ if inspect.isfunction(getattr(rd, name))}
    missing = functions - {"gaussian_broja"} - set(STATES) - set(LABELS) - set(TABLES)
    assert missing <= set(), f"add {missing} to a table of this file"


@pytest.mark.parametrize("kind", SAME)
@pytest.mark.parametrize("name", existing(STATES))
def test_the_same_states_give_the_same_number(name, kind):
    if name == "risk_difference":
        pytest.skip("takes losses: tested below")
    np.testing.assert_allclose(quiet(STATES[name], SAME[kind](X), SAME[kind](Y)), quiet(STATES[name], X, Y), rtol=1e-12)


@pytest.mark.parametrize("kind", NO_NUMBERS)
@pytest.mark.parametrize("name", existing(STATES))
def test_what_holds_no_plain_numbers_is_refused_by_name(name, kind):
    if name == "risk_difference":
        pytest.skip("takes losses: tested below")
    with pytest.raises((ValueError, TypeError), match=r"\b(x|y|z|x and y|arrays|states)\b.*: (expected|got)"):
        quiet(STATES[name], NO_NUMBERS[kind](X), NO_NUMBERS[kind](Y))


@pytest.mark.parametrize("kind", [*SAME_LABELS, *SAME_TEXT])
@pytest.mark.parametrize("name", existing(LABELS))
def test_the_same_labels_give_the_same_number(name, kind):
    if name == "informational" and kind in SAME_TEXT:
        pytest.skip("codewords are integers")
    convert = (SAME_LABELS | SAME_TEXT)[kind]
    np.testing.assert_allclose(quiet(LABELS[name], convert(A), convert(B)), quiet(LABELS[name], A, B), rtol=1e-12)


@pytest.mark.parametrize("kind", NO_LABELS)
@pytest.mark.parametrize("name", existing(LABELS))
def test_missing_and_mixed_labels_are_refused_by_name(name, kind):
    if (name, kind) == ("mixed_information, given", "None"):
        pytest.skip("no condition")
    with pytest.raises((ValueError, TypeError), match=r"^(x|y|z|x_codes|y_codes): expected"):
        quiet(LABELS[name], NO_LABELS[kind](A), NO_LABELS[kind](B))


@pytest.mark.parametrize("kind", [*SAME_LABELS, *SAME_TEXT])
@pytest.mark.parametrize("name", existing(GROUPS))
def test_the_same_groups_give_the_same_number(name, kind):
    convert = (SAME_LABELS | SAME_TEXT)[kind]
    group = IMAGE % 3 if kind in SAME_TEXT else IMAGE
    if name == "cka" and kind in SAME_TEXT:
        pytest.skip("needs four images")
    np.testing.assert_allclose(quiet(GROUPS[name], convert(group)), quiet(GROUPS[name], group), rtol=1e-12)


@pytest.mark.parametrize("kind", NO_GROUPS)
@pytest.mark.parametrize("name", existing(GROUPS))
def test_missing_groups_are_refused_by_name(name, kind):
    with pytest.raises((ValueError, TypeError), match=r"^groups: expected"):
        quiet(GROUPS[name], NO_GROUPS[kind](IMAGE))


@pytest.mark.parametrize("kind", ["list", "fortran", "object", "torch", "torch with gradient", "masked nowhere"])
@pytest.mark.parametrize("name", TABLES)
def test_the_same_table_gives_the_same_number(name, kind):
    np.testing.assert_allclose(quiet(TABLES[name], SAME[kind](TABLE)), quiet(TABLES[name], TABLE), atol=1e-12)


@pytest.mark.parametrize("kind", ["masked", "complex", "text", "text objects", "None", "missing", "NaN"])
@pytest.mark.parametrize("name", TABLES)
def test_a_bad_table_is_refused(name, kind):
    with pytest.raises((ValueError, TypeError), match=r": expected"):
        quiet(TABLES[name], NO_NUMBERS[kind](TABLE))


def test_booleans_are_zeros_and_ones():
    flags = RNG.random((N, 2)) > 0.5
    assert rd.geometric(flags, ~flags, "euclidean").value == pytest.approx(np.sqrt(2))
    assert rd.entropy(flags[:, 0]).value == pytest.approx(rd.entropy(flags[:, 0].astype(int)).value)


def test_torch_states_stay_torch_in_row_distances():
    seen = []

    def distance(x, y):
        seen.append(type(x))
        return abs(x - y).max(1).values

    rd.geometric(torch.tensor(X), torch.tensor(Y), distance)
    assert seen == [torch.Tensor]


@given(st.lists(st.one_of(st.integers(), st.text(max_size=3), st.booleans()), min_size=1, max_size=8))
@settings(max_examples=200, deadline=None)
def test_labels_are_never_merged_by_their_conversion(values):
    """As many groups as distinct labels of one type; two types are refused."""
    types = {type(value) for value in values}
    if len(types) > 1:
        with pytest.raises(TypeError, match="one type"):
            checks.group_index(values, len(values))
    elif types != {str} or not any(value.endswith("\0") for value in values):
        assert checks.group_index(values, len(values))[1].size == len(set(values))
