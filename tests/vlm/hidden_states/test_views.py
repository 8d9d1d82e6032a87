"""Text forms of views, and the deterministic token sample."""

from __future__ import annotations

import numpy as np
import pytest

from vlm.hidden_states.views import View, parse_views, sampled_tokens

FORMS = ("last", "vision-mean", "text-mean", "vision-sample(8)", "text-sample(1)", "vision-all", "text-all")


@pytest.mark.parametrize("form", FORMS)
def test_text_forms_round_trip(form):
    view = View.parse(form)
    assert str(view) == f"{view}" == form
    assert View.parse(view) is view
    assert repr(view) == f"View({form})"
    assert view == View(view.which, view.modality, view.size)


@pytest.mark.parametrize(
    "form",
    ["Last", "vision", "vision-sample", "vision-sample(0)", "vision-sample(-3)", "text-sample(2.5)", "", 3, None],
)
def test_unknown_forms_name_the_known_ones(form):
    with pytest.raises(ValueError, match=r"view: expected last, vision-mean, .* got "):
        View.parse(form)


@pytest.mark.parametrize(
    "fields", [("mean",), ("last", "text"), ("sample", "text"), ("all", "text", 3), ("sample", "text", 0), ("most",)]
)
def test_combinations_without_meaning_are_refused(fields):
    with pytest.raises(ValueError, match=r"view: expected"):
        View(*fields)


def test_views_come_once_each():
    assert parse_views("last") == (View("last"),)
    assert parse_views(["text-mean", View("last")]) == (View("mean", "text"), View("last"))
    with pytest.raises(ValueError, match="got last twice"):
        parse_views(("last", "last"))
    with pytest.raises(ValueError, match="got none"):
        parse_views(())


def test_a_sample_is_a_set_of_tokens_that_grows_with_its_size():
    for item in ("a", "b", "gqa-17", "ü"):
        small, large = sampled_tokens(item, "vision", 100, 5), sampled_tokens(item, "vision", 100, 20)
        assert len(small) == 5
        assert set(small) <= set(large) <= set(range(100))
        assert (np.diff(large) > 0).all()
        assert sampled_tokens(item, "vision", 3, 5).tolist() == [0, 1, 2]
        assert sampled_tokens(item, "text", 100, 20).tolist() != large.tolist()
    assert sampled_tokens("a", "vision", 0, 5).size == 0


def test_samples_are_uniform_over_tokens():
    # Error level 1e-6: 4,000 items, 10 of 40 tokens each; every token's count is binomial(4000, 1/4) (seeded by ids).
    counts = np.bincount(np.concatenate([sampled_tokens(str(i), "text", 40, 10) for i in range(4000)]), minlength=40)
    from scipy.stats import binom

    low, high = binom.ppf([1e-6 / 80, 1 - 1e-6 / 80], 4000, 0.25)
    assert low <= counts.min()
    assert counts.max() <= high
