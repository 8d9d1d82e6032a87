"""The profile's limits against a transformer whose inputs are all known: each promise is kept as often as it says."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import binom

import redundancy as rd
from bounds.worlds import exact_quantities as exact
from redundancy.information.finite_entropy import log_loss_range
from redundancy.prediction.cross_fitting import LOG_LOSS_MIX
from redundancy.prediction.panel import project_to_simplex
from tests.support.toy_transformer import VALUES, ToyTransformer
from vlm.notions.codes import pair_codes
from vlm.notions.profiling import profile_states
from vlm.notions.reconstruction import EARLIER, LATER, _directions, _predicted
from vlm.notions.task_losses import regressor_of, task_losses
from vlm.notions.view_profile import fitting_rows

TOY = ToyTransformer()
IMAGES, REPLICATES, CONFIDENCE, ERROR = 160, 20, 0.8, 1e-4
NOTIONS = ("geometric", "proximal", "functional", "next state", "informational", "mutual information", "pid")
PAIRS = ((0, 1), (2, 3))
CODES = 6


def unit(states):
    return states / np.linalg.norm(states, axis=1, keepdims=True)


def truths(record, view, pair, seed):
    """The exact value of every certified number of the profile of one sample, by notion and method."""
    law = TOY.law
    x, y = (TOY.states[view][layer] for layer in pair)
    distance = rd.row_distances(x, y)
    found = {
        ("geometric", "cosine distance"): law @ distance,
        ("proximal", "within 0.05"): law @ (distance <= 0.05),
    }
    groups = record.groups(view)
    fit = fitting_rows(groups, 0.5, seed)
    rows = [record.layer(layer, view) for layer in pair]
    codes = pair_codes((rows[0][fit], rows[1][fit]), (rows[0][~fit], rows[1][~fit]), size=CODES, radius=None, seed=seed)
    joint = np.zeros((VALUES, codes.book.size, codes.book.size))
    for probability, told, a, b in zip(law, TOY.answers, codes.book.encode(x), codes.book.encode(y), strict=True):
        joint[:, a, b] += probability * told
    entropy = exact.conditional_entropy(joint.sum(axis=0))
    methods = ("smallest certified", "plug-in", "cross-entropy", "Fano", "H(X) - Braun-Pokutta")
    found |= {("informational", method): entropy for method in methods}
    a, b = (np.unique(states.round(9), axis=0, return_inverse=True)[1].reshape(-1) for states in (x, y))
    table = np.zeros((a.max() + 1, b.max() + 1))
    np.add.at(table, (a, b), law)
    shared = exact.mutual_information(table)
    found |= {("mutual information", method): shared for method in ("matched pairs", "critic")}
    pid = rd.broja(joint / joint.sum())
    names = ("redundant", "unique to the earlier", "unique to the later", "synergistic")
    for name, atom in zip(names, ("redundant", "unique_x", "unique_y", "synergistic"), strict=True):
        found["pid", f"stability: {name}"] = getattr(pid, atom)
    return found | functional_truths(record, view, pair, seed) | reconstruction_truths(record, view, pair, seed)


def functional_truths(record, view, pair, seed):
    """Exact risks of the cross-fitted predictors, which are fitted again here."""
    answers, groups = record.index(view)["answer"], record.groups(view)
    labels = np.array([f"a{t}" for t in record.told])
    classes, codes = np.unique(labels, return_inverse=True)
    risks = []
    for layer in pair:
        rows, everything = record.layer(layer, view), TOY.states[view][layer]
        fold = task_losses(answers, rows, groups, predictor="ridge", folds=2, seed=seed).fold_of_unit
        total = np.zeros(3)
        for number in (0, 1):
            train, share = fold != number, (fold == number).mean()
            model = regressor_of("ridge").fit(rows[train], np.eye(classes.size)[codes[train]])
            forecast = project_to_simplex(model.predict(everything))
            brier = np.square(forecast[:, None, :] - np.eye(VALUES)).sum(axis=2)
            log = -np.log((1.0 - LOG_LOSS_MIX) * forecast + LOG_LOSS_MIX / VALUES)
            wrong = 1.0 - np.eye(VALUES)[forecast.argmax(axis=1)]
            losses = (brier, np.clip(log, *log_loss_range(VALUES, LOG_LOSS_MIX)), wrong)
            total += share * np.array([TOY.law @ (TOY.answers * loss).sum(axis=1) for loss in losses])
        risks.append(total)
    difference = risks[1] - risks[0]
    names = ("Brier score", "log-loss", "0-1 error")
    return {("functional", f"ridge: {name}"): value for name, value in zip(names, difference, strict=True)}


def reconstruction_truths(record, view, pair, seed):
    from redundancy.prediction.cross_fitting import assign_folds

    x, y = (_directions(record.layer(layer, view), "x") for layer in pair)
    all_x, all_y = (unit(TOY.states[view][layer]) for layer in pair)
    fold = assign_folds(len(x), 2, np.random.default_rng(seed))
    found = {}
    for method, source, wanted, new, truth in ((LATER, x, y, all_x, all_y), (EARLIER, y, x, all_y, all_x)):
        risk = 0.0
        for number in (0, 1):
            predicted = _predicted(source[fold != number], wanted[fold != number], new, seed)
            predicted /= np.maximum(np.linalg.norm(predicted, axis=1, keepdims=True), 1.0)
            risk += (fold == number).mean() * (TOY.law @ np.square(truth - predicted).sum(axis=1))
        found["next state", method] = risk / (1.0 - np.square(TOY.law @ truth).sum())
    return found


def test_the_truths_of_the_toy_are_known():
    states = TOY.states["last"]
    assert TOY.law.sum() == pytest.approx(1.0)
    # no two inputs share a state of the last token behind the first layer
    for layer in range(1, len(states)):
        gaps = np.linalg.norm(states[layer][:, None] - states[layer], axis=2) + np.eye(len(TOY.law))
        assert gaps.min() > 1e-9
    brier = TOY.law @ (1.0 - np.square(TOY.answers).sum(axis=1))
    assert 0 < brier < 0.2


@pytest.mark.slow
def test_limits_cover_the_truth_as_often_as_they_promise():
    """A miss is a replicate in which any pair of a view is missed; more than the binomial quantile is a fault."""
    missed: dict[tuple[str, str, str], int] = {}
    narrow: dict[tuple[str, str], list[float]] = {}
    for replicate in range(REPLICATES):
        record = TOY.draw(IMAGES, np.random.default_rng(1000 + replicate))
        profile = profile_states(
            record,
            notions=NOTIONS,
            pairs=PAIRS,
            predictors="ridge",
            codes=CODES,
            replicates=2,
            confidence=CONFIDENCE,
            rng=replicate,
            progress=False,
        )
        for view in record.views:
            wrong = set()
            for pair in PAIRS:
                truth = truths(record, view, pair, replicate)
                for row in profile.rows(view=view, layer=pair[0], later=pair[1]).rows():
                    if not row["guarantee"].startswith("certified"):
                        continue
                    value = truth[row["notion"], row["method"]]
                    if not row["low"] - 1e-9 <= value <= row["high"] + 1e-9:
                        wrong.add((row["notion"], row["method"]))
                    narrow.setdefault((row["notion"], row["method"]), []).append(row["high"] - row["low"])
            for notion, method in narrow:
                missed[notion, method, view] = missed.get((notion, method, view), 0) + ((notion, method) in wrong)
    # Bonferroni over all notions, methods and views
    most = binom.ppf(1.0 - ERROR / len(missed), REPLICATES, 1.0 - CONFIDENCE)
    assert {key: count for key, count in missed.items() if count > most} == {}
    assert len(missed) >= 2 * 18
    for key in (("geometric", "cosine distance"), ("functional", "ridge: 0-1 error"), ("informational", "Fano")):
        assert np.mean(narrow[key]) < {"geometric": 0.6, "functional": 1.0, "informational": 1.75}[key[0]]
