"""Rows of the table of faults that concern distances, codewords, discrete information and PIDs."""

from __future__ import annotations

import json
import tracemalloc
import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import redundancy as rd
from redundancy import checks, units


def test_row_8_masked_states_are_refused():
    r = np.random.default_rng(0)
    x = r.normal(size=(50, 3))
    y = x + 0.3
    x[3, 1] = 1e6
    with pytest.raises(ValueError, match="x: expected an array without masked entries, got 1 masked; fill or drop"):
        rd.geometric(np.ma.array(x, mask=x == 1e6), y, distance="euclidean")


def test_row_10_a_list_of_rows_is_one_layer():
    torch = pytest.importorskip("torch")
    x = np.random.default_rng(0).normal(size=(20, 3))
    fitted = rd.Codebook.fit(x, size=4, rng=0).centres
    for same in (x.tolist(), list(x), tuple(map(tuple, x)), [torch.tensor(row) for row in x], [x], [x[:7], x[7:]]):
        np.testing.assert_allclose(rd.Codebook.fit(same, size=4, rng=0).centres, fitted, atol=1e-12)
    with pytest.raises(ValueError, match="states: expected layers of one width"):
        rd.Codebook.fit([x, x[:, :2]], size=4, rng=0)


def test_row_15_a_class_that_the_sample_lacks_may_be_named():
    rng = np.random.default_rng(0)
    z = rng.integers(2, size=200)
    x = z[:, None] + rng.normal(size=(200, 2))
    estimate = rd.usable_information(z, x, classes=[0, 1, 2], rng=0)
    assert estimate.details["classes"] == (0, 1, 2)
    assert estimate.support[1] > rd.usable_information(z, x, rng=0).support[1]
    with pytest.raises(ValueError, match="z: expected labels in classes, got"):
        rd.usable_information(np.r_[2, z[1:]], x, classes=[0, 1])


def test_row_16_a_class_of_two_rows_works_for_every_seed():
    rng = np.random.default_rng(0)
    z = np.r_[np.zeros(30), np.ones(28), [2, 2]].astype(int)
    x = rng.normal(size=(60, 2)) + z[:, None]
    for seed in range(100):
        estimate = rd.usable_information(z, x, folds=3, rng=seed)
        fold = estimate.details["fold_of_unit"]
        assert fold[-1] != fold[-2]
        assert np.bincount(fold).tolist() == [20, 20, 20]


@given(st.data())
@settings(max_examples=30, deadline=None)
def test_classes_are_spread_over_the_folds_of_images(data):
    from redundancy.information.v_information import stratified_folds

    images = data.draw(st.integers(4, 20))
    sizes = data.draw(st.lists(st.integers(1, 4), min_size=images, max_size=images))
    index = np.repeat(np.arange(images), sizes)
    code = np.array(data.draw(st.lists(st.integers(0, 3), min_size=index.size, max_size=index.size)))
    fold = stratified_folds(code, index, images, 2, np.random.default_rng(data.draw(st.integers(0, 99))))
    assert all(np.unique(fold[index == i]).size == 1 for i in range(images))
    # a class met in all but few images cannot be in one fold alone
    for c in np.unique(code):
        if len(set(index[code == c])) > images // 2 + 2:
            assert np.unique(fold[code == c]).size == 2


def test_a_class_of_one_image_is_predicted_by_the_floor():
    rng = np.random.default_rng(0)
    z = np.r_[np.zeros(10), np.ones(9), 2].astype(int)
    estimate = rd.usable_information(z, rng.normal(size=(20, 1)), folds=2, mix=0.03, rng=0)
    assert estimate.per_unit[-1] == pytest.approx(0.0)  # neither the classifier nor the frequencies know the class
    assert np.isfinite(estimate.value)


def test_row_17_a_tiny_information_keeps_its_digits():
    """P = product + 1e-8 on the diagonal: 9.92e-16, where a difference of entropies gives 8.9e-16."""
    px, py = np.array([0.3, 0.7]), np.array([0.6, 0.4])
    p = np.outer(px, py)
    p = p + 1e-8 * np.array([[1, -1], [-1, 1]])
    expected = 0.5 * 1e-16 * (1 / np.outer(px, py)).sum()  # second order: sum of delta^2 / (2 q)
    assert rd.mutual_information(p, kind="pmf").value == pytest.approx(expected, rel=1e-6)
    whole = np.stack([p, np.outer(py, px)], axis=2) / 2
    assert rd.conditional_mutual_information(whole, kind="pmf").value == pytest.approx(expected / 2, rel=1e-6)


@given(st.integers(0, 1000), st.floats(1e-9, 0.2), st.integers(2, 5))
@settings(max_examples=60, deadline=None)
def test_information_is_a_sum_of_divergences(seed, size, k):
    from mpmath import log, mp, mpf

    rng = np.random.default_rng(seed)
    p = np.outer(rng.dirichlet(np.ones(k)), rng.dirichlet(np.ones(k)))
    p = p * (1 + size * rng.uniform(-1, 1, size=p.shape))
    p /= p.sum()
    with mp.workdps(60):
        q = [[mpf(v) for v in row] for row in p.tolist()]
        total = sum(map(sum, q))
        rows, columns = [sum(row) for row in q], [sum(column) for column in zip(*q, strict=True)]
        terms = [
            q[i][j] / total * log(q[i][j] * total / (rows[i] * columns[j]))
            for i in range(k)
            for j in range(k)
            if q[i][j]
        ]
        expected = float(sum(terms))
    assert rd.mutual_information(p, kind="pmf").value == pytest.approx(expected, rel=1e-5, abs=1e-15 * size)


def test_row_20_many_thresholds_need_memory_for_the_rows_alone():
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(2, 20_000, 2))
    t = rng.permutation(np.linspace(0, 2, 500))
    tracemalloc.start()
    estimate = rd.proximal(x, y, t)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 20_000 * 8 * 40  # the table alone would be 20,000 x 500 x 8 bytes
    d = rd.row_distances(x, y)
    np.testing.assert_allclose(estimate.value, [(d <= level).mean() for level in t], atol=1e-12)
    np.testing.assert_array_equal(estimate.per_unit, d[:, None] <= t)
    assert estimate.n == 20_000


def test_many_thresholds_with_images():
    rng = np.random.default_rng(1)
    x, y = rng.normal(size=(2, 60, 2))
    image = rng.integers(7, size=60)
    t = [0.5, 0.1, 0.5, 1.9, 0.0]
    estimate = rd.proximal(x, y, t, groups=image, baseline=True, rng=0)
    for i, level in enumerate(t):
        one = rd.proximal(x, y, level, groups=image)
        np.testing.assert_allclose(estimate.per_unit[:, i], one.per_unit, atol=1e-15)
        assert estimate.value[i] == pytest.approx(one.value, abs=1e-15)
    assert estimate.baseline.value.shape == (5,)


def test_row_20_many_labels_need_memory_for_occupied_cells():
    rng = np.random.default_rng(0)
    z = rng.integers(2, size=4000)
    x, y = rng.integers(3000, size=(2, 4000))
    tracemalloc.start()
    pid = rd.broja_from_samples(z, x, y, on_doubt="ignore")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 30e6  # one table is 2 x 2200 x 2200 x 8 bytes = 77e6
    assert pid.total == pytest.approx(rd.mutual_information(z, 3000 * x + y, on_doubt="ignore").value, abs=1e-9)
    assert pid.converged


def test_merged_labels_give_the_same_decomposition(monkeypatch):
    rng = np.random.default_rng(0)
    z = rng.integers(3, size=400)
    x = rng.integers(40, size=400)
    y = (rng.integers(30, size=400) + 5 * z) % 40
    plain = rd.broja_from_samples(z, x, y, on_doubt="ignore")
    monkeypatch.setattr("redundancy.pid.from_samples.DENSE_CELLS", 0)
    merged = rd.broja_from_samples(z, x, y, on_doubt="ignore")
    for atom in ("redundant", "unique_x", "unique_y", "synergistic"):
        assert getattr(merged, atom) == pytest.approx(getattr(plain, atom), abs=2e-9)
    np.testing.assert_allclose(merged.q.sum(1), plain.q.sum(1), atol=1e-15)
    np.testing.assert_allclose(merged.q.sum(2), plain.q.sum(2), atol=1e-15)
    assert np.exp(merged.u[:, :, None] + merged.v[:, None]).sum(0).max() <= 1 + 1e-12


def test_row_21_a_numpy_size_is_saved(tmp_path):
    x = np.random.default_rng(0).normal(size=(20, 3))
    book = rd.Codebook.fit(x, size=np.int64(4), parts=np.int32(2), method="product", dimensions=np.int64(4), rng=0)
    book.save(tmp_path / "book")
    assert json.loads((tmp_path / "book.json").read_text())["settings"]["size"] == 4
    np.testing.assert_array_equal(rd.Codebook.load(tmp_path / "book").centres, book.centres)


def test_a_codebook_that_cannot_be_saved_leaves_no_half(tmp_path):
    book = rd.Codebook(np.eye(2), settings={"made by": object()})
    with pytest.raises(TypeError, match="to_dict"):
        book.save(tmp_path / "book")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("distance", ["cosine", "angular", "chordal"])
@pytest.mark.parametrize("columns", [1, 3, 1000])
def test_row_21_parallel_rows_are_close_at_zero(distance, columns):
    torch = pytest.importorskip("torch")
    x = np.random.default_rng(0).normal(size=(500, columns))
    assert rd.proximal(x, 3 * x, t=0, distance=distance).value == 1.0
    assert rd.proximal(torch.tensor(x), torch.tensor(x) / 7, t=0, distance=distance).value == 1.0
    moved = x.copy()
    moved[:, 0] *= 1 + 1e-11
    assert columns == 1 or rd.proximal(x, moved, t=0, distance=distance).value < 0.6


@pytest.mark.parametrize("scale", [1e160, 1e-170, 1e300, 1e-300])
def test_row_21_huge_and_tiny_states(scale):
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(2, 50, 3))
    for distance in ("cosine", "angular", "chordal"):
        expected = rd.geometric(x, y, distance).value
        assert rd.geometric(x * scale, y * scale, distance).value == pytest.approx(expected, rel=1e-12)
    expected = rd.geometric(x, y, "euclidean").value
    assert rd.geometric(x * scale, y * scale, "euclidean").value / scale == pytest.approx(expected, rel=1e-12)
    np.testing.assert_array_equal(rd.Codebook.from_centres(x).encode(y * scale), rd.Codebook.from_centres(x).encode(y))
    z = x[:, 0] > 0
    here = rd.usable_information(z, x, rng=0).value
    assert rd.usable_information(z, x * scale, rng=0).value == pytest.approx(here, rel=1e-6)


@given(st.lists(st.floats(0, 1), min_size=1, max_size=12), st.integers(0, 99))
@settings(max_examples=100, deadline=None)
def test_row_21_per_unit_values_stay_in_their_range(values, seed):
    a = np.array(values)
    index, sizes = checks.group_index(np.random.default_rng(seed).integers(3, size=a.size), a.size)
    means = units.unit_means(a, index, sizes)
    assert a.min() <= means.min()
    assert means.max() <= a.max()
    estimate = rd.Estimate.over_units(a, index, quantity="mean", support=(0, 1))
    assert estimate.per_unit.min() <= estimate.value <= estimate.per_unit.max()


def test_row_21_losses_stay_in_their_support():
    rng = np.random.default_rng(0)
    z = np.repeat([0, 1], 40)
    estimate = rd.usable_information(z, z[:, None] * 1e3 + rng.normal(size=(80, 1)), mix=0.3, rng=0)
    assert estimate.support[0] <= estimate.per_unit.min()
    assert estimate.per_unit.max() <= estimate.support[1]
    codes = np.zeros(100, dtype=int)
    for mix in (0.1, 0.3, 0.7):
        loss = rd.informational(codes, codes, size=7, method="cross-entropy", mix=mix, rng=0)
        assert loss.support[0] <= loss.per_unit.min()
        assert loss.per_unit.max() <= loss.support[1]


@pytest.mark.parametrize("value", [np.nan, np.inf, -1.0, True, "1", None])
def test_row_21_a_radius_is_a_finite_number(value):
    book = rd.Codebook.from_centres(np.eye(3))
    with pytest.raises((ValueError, TypeError), match=r"radius: expected|codebook and radius"):
        rd.informational([0, 1], [1, 2], codebook=book, radius=value)
    with pytest.raises((ValueError, TypeError), match="radius: expected"):
        book.ball_counts(value)


@pytest.mark.parametrize("value", [2.5, True, np.nan, "3", None, 0])
def test_row_21_counts_are_whole_numbers(value):
    x = np.random.default_rng(0).normal(size=(30, 2))
    for call in (
        lambda: rd.Codebook.fit(x, size=value),
        lambda: rd.usable_information(x[:, 0] > 0, x, folds=value),
        lambda: rd.row_distances(x, x, chunk=value),
        lambda: rd.broja_from_samples([0, 1], [0, 1], [0, 1], sizes=(2, value, 2)),
        lambda: rd.informational([0, 1], [0, 1], size=value),
    ):
        with pytest.raises((ValueError, TypeError), match="expected"):
            call()


def test_one_name_for_the_chordal_distance():
    book = rd.Codebook.from_centres(np.eye(3))
    assert book.distances("chordal")[0, 1] == pytest.approx(np.sqrt(2))
    with pytest.raises(ValueError, match="did you mean 'chordal'"):
        book.distances("chord")
    with pytest.raises(ValueError, match="did you mean 'chordal'"):
        rd.geometric(np.eye(2), np.eye(2), "chord")


def test_estimates_know_how_many_units_they_are_from():
    x, y = np.arange(100) % 3, np.arange(100) % 2
    for estimate in (
        rd.entropy(x),
        rd.mutual_information(x, y),
        rd.informational(x, y, size=3),
        rd.unique_information(y, x, y),
    ):
        assert estimate.n == estimate.details["n"] == 100
    assert rd.mutual_information(x, y, groups=np.arange(100) // 10, on_doubt="ignore").n == 10
    assert rd.entropy([0.5, 0.5], kind="pmf").n == 0


def test_a_table_of_decompositions_is_sliced():
    table = rd.broja_batch(np.random.default_rng(0).dirichlet(np.ones(8), size=5).reshape(5, 2, 2, 2))
    assert len(table[1:3]) == 2
    assert table[1:3][0].unique_x == table[1].unique_x == table[[1, 4]][0].unique_x == table[-4].unique_x
    assert len(table[table.converged]) == int(table.converged.sum())
    assert len(table[5:]) == 0
    assert "0 distributions" in repr(table[5:])
    with pytest.raises(TypeError, match="index"):
        table[True]


# Images in discrete estimators

LABELLED = {
    "entropy": lambda x, y, z, **k: rd.entropy(x, **k).value,
    "conditional entropy": lambda x, y, z, **k: rd.conditional_entropy(x, y, **k).value,
    "information": lambda x, y, z, **k: rd.mutual_information(x, y, on_doubt="ignore", **k).value,
    "conditional": lambda x, y, z, **k: rd.conditional_mutual_information(x, y, z, on_doubt="ignore", **k).value,
    "unique": lambda x, y, z, **k: rd.unique_information(z, x, y, on_doubt="ignore", **k).value,
}
triples = st.integers(2, 30).flatmap(
    lambda n: st.tuples(*(st.lists(st.integers(0, 2), min_size=n, max_size=n) for _ in range(3)), st.integers(0, 99))
)


@pytest.mark.parametrize("name", LABELLED)
@given(case=triples)
@settings(max_examples=25, deadline=None)
def test_discrete_estimates_under_relabelling_permutation_and_groups(name, case):
    """Names of symbols, the order of rows and groups of one row change nothing; repeated images count once."""
    *columns, seed = case
    rng = np.random.default_rng(seed)
    x, y, z = map(np.array, columns)
    estimate = LABELLED[name]
    value = estimate(x, y, z)
    near = {"abs": 3e-9}
    words = np.array(["q", "a", "m"])
    assert estimate(words[x], 7 - 3 * y, words[z]) == pytest.approx(value, **near)
    order = rng.permutation(x.size)
    assert estimate(x[order], y[order], z[order]) == pytest.approx(value, **near)
    assert estimate(x, y, z, groups=rng.permutation(x.size)) == pytest.approx(value, **near)
    copies = np.repeat(np.arange(x.size), rng.integers(1, 5, size=x.size))
    assert estimate(x[copies], y[copies], z[copies], groups=copies) == pytest.approx(value, **near)


@given(case=triples)
@settings(max_examples=25, deadline=None)
def test_unseen_symbols_change_no_decomposition(case):
    z, x, y, _ = (np.array(c) for c in case)
    plain = rd.broja_from_samples(z, x, y, sizes=(3, 3, 3), on_doubt="ignore")
    wider = rd.broja_from_samples(z, x, y, sizes=(4, 5, 6), on_doubt="ignore")
    assert wider.unique_x == pytest.approx(plain.unique_x, abs=3e-9)
    assert wider.synergistic == pytest.approx(plain.synergistic, abs=3e-9)
    assert wider.q.shape == (4, 5, 6)


def test_groups_with_tables_or_corrections_are_refused():
    with pytest.raises(ValueError, match="groups: expected kind='samples'"):
        rd.entropy([1, 2], kind="counts", groups=[0, 1])
    with pytest.raises(ValueError, match="groups: expected kind='samples'"):
        rd.entropy([1, 2], "jackknife", groups=[0, 1])


def test_clustered_confidence_limits_count_images():
    z = np.arange(60_000) % 2
    alone = rd.broja_from_samples(z, z, z, sizes=(2, 2, 2), confidence=0.9)
    image = rd.broja_from_samples(z, z, z, sizes=(2, 2, 2), confidence=0.9, groups=np.arange(60_000) // 4)
    assert image.stability["redundant"][0] < alone.stability["redundant"][0]


# Doubts about plug-ins


def test_independent_data_on_many_codewords_is_doubted():
    rng = np.random.default_rng(0)
    z, x, y = rng.integers(2, size=1000), *rng.integers(256, size=(2, 1000))
    with pytest.warns(RuntimeWarning, match="one row alone fills"):
        pid = rd.broja_from_samples(z, x, y)
    assert pid.synergistic > 0.4  # where 0 is true
    with pytest.warns(RuntimeWarning, match="one row alone fills"):
        rd.mutual_information(x, y)
    with pytest.raises(ValueError, match="synergistic information"):
        rd.unique_information(z, x, y, on_doubt="raise")


def test_a_bias_above_a_tenth_of_a_nat_is_doubted():
    rng = np.random.default_rng(1)
    x, y = rng.integers(10, size=(2, 300))
    with pytest.warns(RuntimeWarning, match=r"biased upwards by about 0\.1"):
        rd.mutual_information(x, y)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        rd.mutual_information(*rng.integers(10, size=(2, 3000)))
        rd.mutual_information(np.arange(3000) % 200, np.arange(3000) % 200)
    with pytest.warns(RuntimeWarning, match="images"):
        rd.mutual_information(*rng.integers(10, size=(2, 3000)), groups=np.arange(3000) // 30)


def _layers(extra):
    rng = np.random.default_rng(0)
    shared = rng.normal(size=(120, 2))
    x, y = shared + rng.normal(size=(120, 2)), shared + rng.normal(size=(120, 2))
    return shared[:, 0], np.hstack([x, extra]), np.hstack([y, extra])


OF_LAYERS = {
    "cka": lambda z, x, y: rd.cka(x, y).value,
    "procrustes": lambda z, x, y: rd.procrustes(x, y).value,
    "subspace_angles": lambda z, x, y: rd.subspace_angles(x, y).value.sum(),
    "gaussian_broja_from_samples": lambda z, x, y: rd.gaussian_broja_from_samples(z, x, y).synergistic,
    "gaussian_information": lambda z, x, y: rd.gaussian_information(x, y).value,
    "ksg": lambda z, x, y: rd.ksg(x, y, on_doubt="ignore").value,
    "knn_conditional_mutual_information": lambda z, x, y: (
        rd.knn_conditional_mutual_information(x, y, z, on_doubt="ignore").value
    ),
    "mixed_information": lambda z, x, y: rd.mixed_information(x, y, z > 0, on_doubt="ignore").value,
    "critic_information": lambda z, x, y: (
        rd.critic_information(x, y, members=("student",), folds=2, rng=0, on_doubt="ignore").value
    ),
    "summary_information": lambda z, x, y: rd.summary_information(x, y, rng=0, on_doubt="ignore").value,
}


@pytest.mark.parametrize("name", OF_LAYERS)
def test_a_column_of_rounding_errors_is_a_constant_to_every_estimator(name):
    # The last bit of a constant, the same in both layers, as when a layer hands a column on.
    bit = np.spacing(0.3) * np.random.default_rng(1).integers(2, size=(120, 1))
    plain = OF_LAYERS[name](*_layers(np.zeros((120, 0))))
    assert OF_LAYERS[name](*_layers(0.3 + bit)) == pytest.approx(plain, rel=1e-9)


def test_a_column_that_is_constant_within_a_value_of_the_condition_shares_nothing_there():
    rng = np.random.default_rng(0)
    label = np.arange(200) % 2
    bit = np.where(label == 1, 1.3, 0.3) + np.spacing(0.3) * rng.integers(2, size=200)
    estimate = rd.mixed_information(
        np.c_[rng.normal(size=200), bit], np.c_[rng.normal(size=200), bit], label, on_doubt="ignore"
    )
    assert abs(estimate.value) < 0.15  # one bit of rounding would be 0.69
