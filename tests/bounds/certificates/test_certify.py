"""Certificates: intervals, sentences and refusals; entropy and information by enumeration and by hand."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from scipy.stats import binom

import bounds
import redundancy as rd
from bounds import confidence
from bounds.certificates import entropy_bounds, guarantee_text
from redundancy.estimate import Estimate
from redundancy.information.discrete import conditional_entropy, entropy


def states(images=60, per_image=5, d=8, seed=0, noise=0.2):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(images * per_image, d))
    return x, x + noise * rng.normal(size=x.shape), np.repeat(np.arange(images), per_image)


X, Y, G = states()
GEOMETRIC = rd.geometric(X, Y, groups=G)
PROXIMAL = rd.proximal(X, Y, t=[0.01, 0.02, 0.05], groups=G, baseline=True, rng=0)
SINGLE = rd.proximal(X, Y, t=0.02, groups=G)


@pytest.mark.parametrize("method", [m for m in confidence.METHODS if m != "clopper-pearson"])
def test_interval_is_that_of_the_image_means(method):
    certificate = bounds.certify(GEOMETRIC, 0.9, method=method, shuffle=False)
    low, high = confidence.interval(GEOMETRIC.per_unit, alpha=0.1, method=method, support=(0.0, 2.0))
    assert certificate.low == pytest.approx(low, abs=1e-12)
    assert certificate.high == pytest.approx(high, abs=1e-12)
    assert certificate.low <= GEOMETRIC.value <= certificate.high
    assert (certificate.n, certificate.confidence, certificate.method, certificate.unit_of_sampling) == (
        60,
        0.9,
        method,
        "image",
    )


def test_several_thresholds_share_alpha():
    certificate = bounds.certify(PROXIMAL, 0.94)
    alone = [bounds.certify(rd.proximal(X, Y, t=t, groups=G), 0.98, method="betting") for t in (0.01, 0.02, 0.05)]
    np.testing.assert_allclose(certificate.low, [c.low for c in alone], rtol=1e-9)
    np.testing.assert_allclose(certificate.high, [c.high for c in alone], rtol=1e-9)
    assert ".low and .high" in certificate.guarantee


def test_all_thresholds_at_once_cost_the_same_at_every_threshold():
    certificate = bounds.certify(PROXIMAL, method="dkw")
    few = bounds.certify(SINGLE, method="dkw")
    assert certificate.low[1] == pytest.approx(few.low, abs=1e-14)
    from bounds.certificates.clustered import dkw_deviation

    s = dkw_deviation(60, alpha=0.025)
    np.testing.assert_allclose(certificate.high, np.minimum(1, PROXIMAL.value + s), atol=1e-12)
    rows = rd.proximal(X[::5], Y[::5], t=0.02)
    plain = bounds.certify(rows, method="dkw", side="upper")
    assert plain.high - rows.value == pytest.approx(dkw_deviation(60, alpha=0.05, clustered=False))


def test_one_sided_bounds_are_tighter_and_leave_the_other_end_at_its_range():
    both = bounds.certify(GEOMETRIC, method="chernoff-kl")
    upper = bounds.certify(GEOMETRIC, method="chernoff-kl", side="upper")
    lower = bounds.certify(GEOMETRIC, method="chernoff-kl", side="lower")
    assert both.low < lower.low
    assert upper.high < both.high
    assert (upper.low, lower.high) == (0.0, 2.0)


def test_simultaneous_certificates_divide_alpha():
    certificate = bounds.certify(GEOMETRIC, 0.9, method="hoeffding", simultaneous=64)
    alone = bounds.certify(GEOMETRIC, 1 - 0.1 / 64, method="hoeffding")
    assert certificate.high == pytest.approx(alone.high, abs=1e-12)
    assert certificate.confidence == 0.9
    assert "together with 63 other certificates" in certificate.guarantee


def test_every_token_counts_the_same():
    rng = np.random.default_rng(1)
    groups = np.repeat(np.arange(80), rng.integers(1, 10, 80))
    x = rng.normal(size=(groups.size, 4))
    y = x + 0.3 * rng.normal(size=x.shape)
    estimate = rd.geometric(x, y, groups=groups)
    certificate = bounds.certify(estimate, weighting="token", max_rows=9)
    assert certificate.estimate == pytest.approx(rd.geometric(x, y).value)
    assert certificate.low <= certificate.estimate <= certificate.high
    assert "no image has more than 9 rows" in certificate.guarantee
    assert bounds.certify(estimate, weighting="token", max_rows=9, method="hoeffding").high > certificate.high
    # Where all images have the same size both means are the same number.
    token = bounds.certify(SINGLE, weighting="token", max_rows=5)
    assert (token.low, token.high) == pytest.approx(
        (bounds.certify(SINGLE).low, bounds.certify(SINGLE).high), abs=1e-12
    )


def test_shuffling_makes_a_sorted_file_harmless_and_is_reproducible():
    rising = Estimate(0.5, "mean", per_unit=np.repeat([0.0, 1.0], 100), support=(0.0, 1.0))
    sorted_order = bounds.certify(rising, shuffle=False)
    assert sorted_order.high < 0.5  # read in order, the bets see a drift that no iid sample has
    assert sorted_order.low < sorted_order.high
    shuffled = bounds.certify(rising)
    assert shuffled.low < 0.5 < shuffled.high
    assert bounds.certify(rising).high == shuffled.high


def test_unbounded_distances_need_d_max():
    far = rd.geometric(X, Y, distance="euclidean", groups=G)
    with pytest.raises(ValueError, match="give the largest possible distance as d_max"):
        bounds.certify(far)
    certificate = bounds.certify(far, d_max=10.0)
    assert certificate.low <= far.value <= certificate.high <= 10.0
    assert "no distance exceeds 10" in certificate.guarantee
    with pytest.raises(ValueError, match="widen the support"):
        bounds.certify(far, d_max=0.01)
    # Knowing that all inner products are >= 0 halves the range of the cosine distance.
    assert (
        bounds.certify(GEOMETRIC, method="hoeffding", d_max=1.0).high
        < bounds.certify(GEOMETRIC, method="hoeffding").high
    )
    with pytest.raises(ValueError, match="d_max: makes no sense for a proximal"):
        bounds.certify(SINGLE, d_max=1.0)
    with pytest.raises(ValueError, match="d_max: expected a finite number"):
        bounds.certify(far, d_max=math.inf)


def test_binary_units_allow_clopper_pearson():
    rows = rd.proximal(X[::5], Y[::5], t=0.02)
    k = int(rows.per_unit.sum())
    certificate = bounds.certify(rows, method="clopper-pearson")
    assert binom.sf(k - 1, 60, certificate.low) <= 0.025 + 1e-12
    assert binom.cdf(k, 60, certificate.high) <= 0.025 + 1e-12
    with pytest.raises(ValueError, match="expected units that are 0 or 1, got fractions"):
        bounds.certify(SINGLE, method="clopper-pearson")


# Functional redundancy and mmse


def predictable(seed=2, images=200, per_image=3):
    from sklearn.linear_model import Ridge

    rng = np.random.default_rng(seed)
    x, y, groups = states(images, per_image, seed=seed)
    z = (x[:, 0] + 0.3 * rng.normal(size=len(x)) > 0).astype(float)
    return z, x, y, groups, Ridge()


def test_cross_fitted_risk_differences_get_one_interval_per_fold():
    z, x, y, groups, ridge = predictable()
    gap = rd.functional(z, x, y, ridge, folds=4, groups=groups, rng=0, target_range=(0, 1))
    certificate = bounds.certify(gap, method="hoeffding")
    fold = gap.details["fold_of_unit"]
    slack = [np.mean(fold == k) * 2 * np.sqrt(np.log(8 / 0.05) / (2 * np.sum(fold == k))) for k in range(4)]
    assert certificate.high == pytest.approx(gap.value + np.sum(slack), abs=1e-12)
    assert certificate.low == pytest.approx(gap.value - np.sum(slack), abs=1e-12)
    assert "averaged over the 4 cross-fitted predictors" in certificate.guarantee
    assert "fitted on other data" not in certificate.guarantee


def test_frozen_predictors_get_one_interval():
    z, x, y, groups, ridge = predictable()
    ridge.fit(x[:300], z[:300])
    rest = slice(300, None)
    gap = rd.functional(z[rest], x[rest], y[rest], (ridge, ridge), folds=None, groups=groups[rest], target_range=(0, 1))
    certificate = bounds.certify(gap)
    assert certificate.low <= gap.value <= certificate.high
    assert "the predictors were fitted on other data" in certificate.guarantee
    wrong = (z[rest] > 0.5) != (ridge.predict(x[rest]) > 0.5)
    skip = (z[rest] > 0.5) != (ridge.predict(y[rest]) > 0.5)
    paired = rd.risk_difference(wrong, skip, largest_loss=1.0, groups=groups[rest])
    accuracy = bounds.certify(paired)
    assert accuracy.high - accuracy.low < 0.4


def test_unbounded_losses_need_a_range():
    z, x, y, groups, ridge = predictable()
    gap = rd.functional(z, x, y, ridge, groups=groups, rng=0)
    with pytest.raises(ValueError, match="give target_range to redundancy"):
        bounds.certify(gap)
    certificate = bounds.certify(gap, largest_loss=4.0)
    assert "no loss exceeds 4" in certificate.guarantee
    with pytest.raises(ValueError, match="largest_loss: makes no sense"):
        bounds.certify(GEOMETRIC, largest_loss=4.0)


def test_mmse_has_an_upper_bound_only():
    z, x, _, groups, ridge = predictable()
    risk = rd.mmse(z, x, ridge, groups=groups, rng=0, target_range=(0, 1))
    for side in ("both", "lower"):
        with pytest.raises(ValueError, match=r"necessarily trivial.*section 9\.2"):
            bounds.certify(risk, side=side)
    certificate = bounds.certify(risk, side="upper")
    assert risk.value < certificate.high < 1.0
    with pytest.raises(ValueError, match="not available for cross-fitted"):
        bounds.certify(risk, side="upper", weighting="token", max_rows=3)


# Information


def test_information_bound_is_the_divergence_at_the_two_clopper_pearson_ends():
    x, y, _ = states(400, 1)
    close = rd.proximal(x, y, t=0.05, baseline=True, rng=0)
    certificate = bounds.certify_information(close, 0.9, method="clopper-pearson")
    r = confidence.lower_limit(close.per_unit, alpha=0.05, method="clopper-pearson")
    q = confidence.upper_limit(close.baseline.per_unit, alpha=0.05, method="clopper-pearson")
    assert close.baseline.n == 200
    exact = r * np.log(r / q) + (1 - r) * np.log((1 - r) / (1 - q))
    assert certificate.low == pytest.approx(exact, rel=1e-9)
    assert certificate.low <= exact
    assert certificate.high == math.inf
    assert certificate.unit == "nats"
    assert 0 < certificate.low <= certificate.estimate
    # Gaussian truth: 8 / 2 log(1 + 1 / .04) nats.
    assert certificate.low < 4 * np.log(26)


def test_several_thresholds_keep_the_best_information_bound():
    certificate = bounds.certify_information(PROXIMAL)
    singles = [
        bounds.certify_information(rd.proximal(X, Y, t=t, groups=G, baseline=True, rng=0), 1 - 0.05 / 3)
        for t in (0.01, 0.02, 0.05)
    ]
    assert certificate.low == pytest.approx(max(c.low for c in singles), rel=1e-9)


def test_independent_states_certify_no_information():
    rng = np.random.default_rng(3)
    x, y = rng.normal(size=(2, 300, 3))
    assert bounds.certify_information(rd.proximal(x, y, t=0.5, baseline=True, rng=0)).low == 0.0


def test_information_refusals():
    with pytest.raises(ValueError, match="'proximal' without baseline"):
        bounds.certify_information(SINGLE)
    with pytest.raises(ValueError, match="got 'geometric'"):
        bounds.certify_information(GEOMETRIC)
    with pytest.raises(ValueError, match="method: expected one of betting"):
        bounds.certify_information(PROXIMAL, method="dkw")
    with pytest.raises(TypeError, match="side"):
        bounds.certify_information(PROXIMAL, side="upper")  # there is a lower bound only


# Entropy


def test_mcdiarmid_bounds_by_hand():
    x = np.array([0, 0, 1, 1, 1, 0])
    y = np.array([0, 0, 0, 1, 1, 1])
    certificate = bounds.certify_entropy(x, y, 0.9, size=2, method="mcdiarmid")
    plugin = -(2 * 2 / 6 * np.log(2 / 3) + 2 * 1 / 6 * np.log(1 / 3))
    assert certificate.estimate == pytest.approx(plugin)
    change = (6 * np.log(6) - 5 * np.log(5)) * np.sqrt(np.log(20) / 12)
    low, high = entropy_bounds.mcdiarmid_entropy(plugin, shape=(2, 2), n=6, alpha_low=0.05, alpha_high=0.05)
    assert (certificate.low, certificate.high) == (low, high)
    assert low == max(0.0, plugin - change)
    assert high == pytest.approx(min(np.log(2), plugin + np.log(1 + 3 / 6) + change))


@pytest.mark.parametrize(("n", "kx", "ky"), [(3, 2, 2), (5, 2, 2), (3, 3, 2), (2, 3, 3)])
def test_bounded_difference_of_the_plugin_by_enumeration(n, kx, ky):
    # Every sample of n rows, every replacement of one row.
    cells = list(itertools.product(range(kx), range(ky)))
    entropies = {}
    for sample in itertools.combinations_with_replacement(cells, n):
        joint = np.zeros((kx, ky))
        for cell in sample:
            joint[cell] += 1
        entropies[sample] = entropy_bounds.plugin_conditional_entropy(joint)
    largest = 0.0
    for sample, value in entropies.items():
        for i, cell in itertools.product(range(n), cells):
            other = tuple(sorted((*sample[:i], cell, *sample[i + 1 :])))
            largest = max(largest, abs(value - entropies[other]))
    assert largest <= entropy_bounds._replacement(n) / n + 1e-12
    # A wrong (n log n without its neighbour, halved) constant would be caught: the largest is attained for n = 2.
    if n == 2:
        assert largest == pytest.approx(entropy_bounds._replacement(n) / n)


def test_bounded_difference_of_images_by_random_search():
    # Replacing one image of any size moves the image-averaged plug-in by at most h_2(1/n) + log|X| / n.
    rng = np.random.default_rng(4)
    for _ in range(300):
        n, kx, ky = rng.integers(2, 6), rng.integers(2, 5), rng.integers(1, 4)
        tables = rng.dirichlet(np.full(kx * ky, rng.choice([0.05, 0.3, 1.0])), size=n + 1).reshape(n + 1, kx, ky)
        before = entropy_bounds.plugin_conditional_entropy(tables[:n].sum(axis=0))
        after = entropy_bounds.plugin_conditional_entropy(tables[1:].sum(axis=0))
        v = 1 / n
        change = -v * np.log(v) - (1 - v) * np.log(1 - v) + v * np.log(kx)
        assert abs(after - before) <= change + 1e-12


def test_entropy_bounds_of_images_are_wider_than_of_rows():
    rng = np.random.default_rng(5)
    x = rng.integers(0, 4, 600)
    y = np.where(rng.random(600) < 0.9, x, rng.integers(0, 4, 600))
    groups = np.repeat(np.arange(60), 10)
    for method in ("mcdiarmid", "cross-entropy"):
        rows = bounds.certify_entropy(x, y, size=4, method=method, side="upper")
        images = bounds.certify_entropy(x, y, size=4, method=method, side="upper", groups=groups)
        assert rows.high < images.high <= math.log(4)
        assert "60 images" in images.guarantee


def test_cross_entropy_bound_covers_a_known_entropy_and_beats_mcdiarmid():
    rng = np.random.default_rng(6)
    flip, k, n = 0.1, 16, 4000
    x = rng.integers(0, k, n)
    y = np.where(rng.random(n) < 1 - flip, x, rng.integers(0, k, n))
    p = 1 - flip + flip / k
    exact = -p * np.log(p) - (1 - p) * np.log(flip / k)
    cross = bounds.certify_entropy(x, y, size=k)
    plug = bounds.certify_entropy(x, y, size=k, method="mcdiarmid", side="upper")
    assert exact <= cross.high < plug.high
    assert cross.high < exact + 0.3


def test_entropy_needs_no_more_than_one_row_for_mcdiarmid():
    certificate = bounds.certify_entropy([1], [0], size=3, method="mcdiarmid")
    assert (certificate.low, certificate.high) == (0.0, math.log(3))


def test_plugin_entropy_estimates_are_certified_on_a_stated_alphabet():
    rng = np.random.default_rng(7)
    x, y = rng.integers(0, 3, (2, 500))
    from_codes = bounds.certify_entropy(x, y, size=(3, 3), method="mcdiarmid")
    from_estimate = bounds.certify(conditional_entropy(x, y), size=3)
    assert (from_estimate.low, from_estimate.high) == pytest.approx((from_codes.low, from_codes.high))
    assert from_estimate.method == "mcdiarmid"
    alone = bounds.certify(entropy(x), size=3)
    assert alone.low < math.log(3) == alone.high
    assert "the entropy in nats of the codeword" in alone.guarantee
    with pytest.raises(ValueError, match="fixed before seeing the data"):
        bounds.certify(conditional_entropy(x, y))
    with pytest.raises(ValueError, match="corrections have no guarantee"):
        bounds.certify(entropy(x, "miller-madow"), size=3)
    with pytest.raises(ValueError, match="corrections have no guarantee"):
        bounds.certify(entropy([0.5, 0.5], kind="pmf"), size=2)
    with pytest.raises(ValueError, match="method: expected one of mcdiarmid"):
        bounds.certify(entropy(x), size=3, method="hoeffding")


@pytest.mark.parametrize("groups", [None, np.repeat(np.arange(100), 5)])
def test_informational_estimates_are_certified_by_their_method(groups):
    rng = np.random.default_rng(8)
    x = rng.integers(0, 4, 500)
    y = np.where(rng.random(500) < 0.8, x, rng.integers(0, 4, 500))
    plugin = bounds.certify(rd.informational(x, y, size=4, groups=groups))
    by_hand = bounds.certify_entropy(x, y, size=4, groups=groups, method="mcdiarmid")
    assert (plugin.low, plugin.high) == pytest.approx((by_hand.low, by_hand.high))
    assert plugin.quantity == "informational"
    held_out = bounds.certify(
        rd.informational(x, y, size=4, groups=groups, method="cross-entropy", rng=0), side="upper", shuffle=False
    )
    again = bounds.certify_entropy(x, y, size=4, groups=groups, rng=0)
    assert held_out.high == pytest.approx(again.high, rel=1e-9)
    assert "never below the conditional entropy" in held_out.guarantee


def test_entropy_refusals():
    x = np.array([0, 1, 1])
    with pytest.raises(ValueError, match=r"y: expected code(word)?s in 0\.\.1"):
        bounds.certify_entropy(x, x + 1, size=2)
    with pytest.raises(TypeError, match="expected integer code"):
        bounds.certify_entropy(x * 1.0, x, size=2)
    with pytest.raises(ValueError, match="codewords of the same rows"):
        bounds.certify_entropy(x, x[:2], size=2)
    with pytest.raises(ValueError, match="at least two rows or images"):
        bounds.certify_entropy(x, x, size=2, groups=[0, 0, 0])
    with pytest.raises(ValueError, match="only an upper bound exists"):
        bounds.certify_entropy(x, x, size=2, side="lower")
    with pytest.raises(ValueError, match="mix"):
        bounds.certify_entropy(x, x, size=2, mix=0.0)
    with pytest.raises(ValueError, match="simultaneous"):
        bounds.certify_entropy(x, x, size=2, simultaneous=0)
    with pytest.raises(ValueError, match="method: expected one of"):
        bounds.certify_entropy(x, x, size=2, method="bootstrap")


# Sentences and refusals


def test_the_sentence_says_unit_number_and_assumption():
    certificate = bounds.certify(GEOMETRIC)
    assert certificate.guarantee.startswith(
        "With probability at least 0.95 over the draw of 60 images, the mean cosine"
    )
    assert "the images are independent draws from one distribution" in certificate.guarantee
    rows = bounds.certify(rd.geometric(X, Y))
    assert "no two rows come from one image" in rows.guarantee
    assert "distance is at most t = 0.02" in bounds.certify(SINGLE).guarantee
    assert repr(certificate).endswith("at confidence 0.95 (betting, n = 60 images)")


@pytest.mark.parametrize("value", [0.0, 1.0, 0.123456, 1.99999, 3.3e-9, -0.123456, 1234567.0])
def test_printed_limits_are_rounded_outward(value):
    assert float(guarantee_text.outward(value, up=True)) >= value
    assert float(guarantee_text.outward(value, up=False)) <= value
    assert float(guarantee_text.outward(value, up=True)) == pytest.approx(value, rel=2e-3)


def test_refusals():
    with pytest.raises(ValueError, match="confidence"):
        bounds.certify(GEOMETRIC, 1.0)
    with pytest.raises(ValueError, match="method: expected one of"):
        bounds.certify(GEOMETRIC, method="wald")
    with pytest.raises(ValueError, match="weighting: expected one of"):
        bounds.certify(GEOMETRIC, weighting="row")
    with pytest.raises(ValueError, match="side: expected one of"):
        bounds.certify(GEOMETRIC, side="left")
    with pytest.raises(ValueError, match="simultaneous"):
        bounds.certify(GEOMETRIC, simultaneous=0)
    with pytest.raises(ValueError, match="expected a proximal estimate"):
        bounds.certify(GEOMETRIC, method="dkw")
    with pytest.raises(ValueError, match="give max_rows"):
        bounds.certify(GEOMETRIC, weighting="token")
    with pytest.raises(TypeError, match="expected a redundancy Estimate, got float"):
        bounds.certify(0.3)
    with pytest.raises(ValueError, match="keeps no per-unit values"):
        bounds.certify(Estimate(1.2, "mutual information", unit="nats"))
    with pytest.raises(ValueError, match="NaN"):
        bounds.certify(Estimate(0.1, "geometric", per_unit=np.array([0.1, np.nan]), support=(0.0, 2.0)))


def test_an_option_of_another_certifier_is_refused_by_name():
    refused = [
        ({"max_rows": 5}, "max_rows: not a parameter of certify_mean"),
        ({"size": 5}, "size: not a parameter of certify_mean, which certifies this geometric estimate"),
        ({"weighting": "token", "max_rows": 5, "size": 3}, "size: not a parameter of certify_token_mean"),
        ({"family": 2}, "family: not a parameter"),
    ]
    for options, message in refused:
        with pytest.raises(TypeError, match=message):
            bounds.certify(GEOMETRIC, **options)
    with pytest.raises(TypeError, match="shuffle: not a parameter of certify_curve"):
        bounds.certify(PROXIMAL, method="dkw", shuffle=False)
    with pytest.raises(ValueError, match="weighting: expected 'image' for certify_curve"):
        bounds.certify(PROXIMAL, method="dkw", weighting="token")
    with pytest.raises(TypeError, match="d_max: not a parameter of certify_plugin_entropy"):
        bounds.certify(entropy(np.array([0, 1, 1])), size=2, d_max=1.0)


def test_certify_calls_the_certifier_that_fits():
    pairs = [
        (bounds.certify(GEOMETRIC, side="upper"), bounds.certify_mean(GEOMETRIC, side="upper")),
        (
            bounds.certify(GEOMETRIC, weighting="token", max_rows=5),
            bounds.certify_token_mean(GEOMETRIC, max_rows=5),
        ),
        (bounds.certify(PROXIMAL, 0.9, method="dkw"), bounds.certify_curve(PROXIMAL, 0.9)),
    ]
    for chosen, direct in pairs:
        assert chosen.to_dict() == direct.to_dict()


def test_an_unknown_quantity_is_refused_with_what_is_certified():
    misspelt = Estimate(0.5, "geometric", per_unit=np.array([0.2, 0.8]), support=(0.0, 1.0))
    object.__setattr__(misspelt, "quantity", "geometrik")
    with pytest.raises(ValueError, match=r"expected one of mean, geometric, .*got 'geometrik'.*quantity='mean'"):
        bounds.certify(misspelt)
    assert bounds.certify_mean(misspelt).low < 0.5  # whoever names the function knows that it is a mean


def test_assumptions_are_a_field():
    independent = "the images are independent draws from one distribution"
    assert bounds.certify(GEOMETRIC).assumptions == (independent,)
    assert bounds.certify(GEOMETRIC, d_max=1.5).assumptions == (independent, "no distance exceeds 1.5")
    values = np.array([0.1, -0.2, 0.3])
    own = Estimate(0.1, "functional", per_unit=values, support=(-1.0, 1.0), unit_of_sampling="image")
    assert bounds.certify(own).assumptions == (independent, "the predictors were fitted on other data")
    folds = Estimate(
        0.1,
        "functional",
        per_unit=values,
        support=(-1.0, 1.0),
        unit_of_sampling="image",
        details={"fold_of_unit": np.array([0, 1, 1])},
    )
    assert bounds.certify(folds).assumptions == (independent,)


def test_a_certificate_shows_itself():
    single, several = bounds.certify(GEOMETRIC), bounds.certify(PROXIMAL)
    assert "\n" not in repr(several)
    assert len(repr(several)) < 160
    assert f"{single:.2f}" == f"[{single.low:.2f}, {single.high:.2f}]"
    assert f"{single}" == repr(single)
    with pytest.raises(TypeError, match="expected a certificate of one number"):
        format(several, ".2f")
    assert "<th scope='row'>guarantee</th>" in single._repr_html_()
    assert several.to_dict()["low"] == several.low.tolist()


def test_row_1_a_watched_certificate_reads_the_units_as_they_come():
    values = np.random.default_rng(0).beta(1, 4, 60)
    highs = []
    for n in (20, 21, 40, 60):
        estimate = Estimate.over_units(values[:n], None, quantity="mean", support=(0.0, 1.0))
        certificate = bounds.certify(estimate, method="betting-anytime", side="upper")
        limit = bounds.confidence.betting_anytime(values[:n], alpha=0.05)
        assert certificate.high == pytest.approx(float(limit), abs=1e-12)
        highs.append(certificate.high)
    assert all(later <= earlier + 1e-12 for earlier, later in itertools.pairwise(highs))
