"""Measures of all tokens of a modality, from sums that were taken while the model ran: no state is kept."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

import redundancy as rd
from redundancy.estimate import Estimate
from vlm.hidden_states.moment_losses import ReconstructionLosses
from vlm.notions.measures import Confidence, Measure, Notion, absent, certified
from vlm.notions.profile_result import Place
from vlm.notions.reconstruction import EARLIER, LATER, NOT_DIVIDED
from vlm.notions.similarity_measures import RANK
from vlm.table import Table

MODALITIES = ("vision", "text")
_SUMS = "estimate, no interval: from sums of all tokens"


def distance_rows(
    probed: Table,
    images: Sequence[str],
    pairs: Sequence[tuple[int, int]],
    *,
    t: float,
    notions: Sequence[Notion],
    confidence: Confidence,
) -> list[tuple[Place, Measure]]:
    """Geometric and proximal redundancy of all tokens, from the distances of :func:`vlm.probe`.

    Parameters
    ----------
    probed : Table
        One row per (sample, layer, modality), with the threshold t.
    images : sequence of str
        Image of each sample.
    pairs : sequence of (int, int)
        Pairs of states; those that are neither adjacent nor begin at state 0 were not probed: their rows say so.
    t : float
        Distance up to which two states are close.
    notions : sequence of str
        Which of "geometric" and "proximal".
    confidence : Confidence
        Of each interval.

    Returns
    -------
    list of (Place, Measure)
        The view is the modality, every image counts the same, and so does every token of a prompt.
    """
    rows: list[tuple[Place, Measure]] = []
    wanted: list[Notion] = [notion for notion in ("geometric", "proximal") if notion in notions]
    for modality in MODALITIES:
        for earlier, later in pairs:
            if later == earlier + 1:
                names, layer = ("distance", f"within_{t:g}"), earlier
            elif earlier == 0:
                names, layer = ("distance_from_entry", f"entry_within_{t:g}"), later - 1
            else:
                reason = "distances of all tokens are measured between adjacent states and from state 0"
                rows += [(Place(earlier, later, modality), absent(notion, "all tokens", reason)) for notion in wanted]
                continue
            here = probed.where(modality=modality, layer=layer)
            kept = here["tokens"] > 0
            if not kept.any():
                continue
            groups = np.array(images)[here["sample"][kept]]
            for notion in wanted:
                if notion == "geometric":
                    name, method, most, says = names[0], "cosine distance", 2.0, "mean cosine distance of a token"
                else:
                    name, method, most, says = names[1], f"within {t:g}", 1.0, f"share of tokens within {t:g}"
                estimate = Estimate.over_units(here[name][kept], groups, quantity="mean", support=(0.0, most))
                measure = certified(notion, method, confidence.certify(estimate), says)
                rows.append((Place(earlier, later, modality), measure))
    return rows


def moment_rows(table: Table, *, notions: Sequence[Notion], images: int) -> list[tuple[Place, Measure]]:
    """What the sums of :func:`vlm.moments` say of each pair of states: descriptions without an interval.

    Parameters
    ----------
    table : Table
        Of moments of normalised states.
    notions : sequence of str
        Which of "next state", "similarity", "mutual information" and "effective rank".
    images : int
        Images behind the sums.

    Returns
    -------
    list of (Place, Measure)
    """
    rows: list[tuple[Place, Measure]] = []
    ranked: set[tuple[int, str]] = set()
    for row in table.rows():
        place = Place(row["layer"], row["later"], row["modality"])

        def add(notion: Notion, method: str, value: float, baseline: float, unit: str = "1", at: Place = place) -> None:
            if notion in notions and not math.isnan(value):
                rows.append(
                    (at, Measure(notion, method, value, baseline=baseline, images=images, unit=unit, guarantee=_SUMS))
                )

        back = row["identity"] / row["variance_back"] if row["variance_back"] > 0 else math.nan
        add("next state", LATER, row["relative"], row["relative_identity"])
        add("next state", EARLIER, row["relative_back"], back)
        debiased = not math.isnan(row["cka_debiased"])
        name = "linear CKA, debiased" if debiased else "linear CKA"
        add("similarity", name, row["cka_debiased" if debiased else "cka"], math.nan)
        add("mutual information", "Gaussian", row["gaussian_information"], math.nan, "nats")
        for state, column in ((row["layer"], "effective_rank"), (row["later"], "effective_rank_later")):
            if (state, row["modality"]) not in ranked:
                ranked.add((state, row["modality"]))
                add("effective rank", RANK, row[column], math.nan, at=Place(state, state, row["modality"]))
    return rows


def loss_rows(
    losses: ReconstructionLosses, pairs: Sequence[tuple[int, int]], *, confidence: Confidence
) -> list[tuple[Place, Measure]]:
    """Certified reconstruction error of directions, by affine maps that were fitted on other images.

    Parameters
    ----------
    losses : ReconstructionLosses
        Of maps of normalised states.
    pairs : sequence of (int, int)
        Pairs of states.
    confidence : Confidence
        Of each interval.

    Returns
    -------
    list of (Place, Measure)
        Squared norms of unit vectors: a constant map costs at most 1. The baseline is the identity map's loss, twice
        the mean cosine distance. It is an upper limit of the best predictor's error as well.
    """
    rows: list[tuple[Place, Measure]] = []
    for modality in MODALITIES:
        for pair in pairs:
            for method, direction in ((LATER, "forward"), (EARLIER, "backward")):
                try:
                    loss = losses.estimate(pair, modality, direction=direction)  # type: ignore[arg-type]
                    same = losses.estimate(pair, modality, direction=direction, identity=True)  # type: ignore[arg-type]
                except ValueError:  # prompts without tokens of this modality
                    continue
                # The maps are fixed, so that both ends of their mean loss can be certified; of the mmse only the upper.
                mean = Estimate.over_units(
                    loss.per_unit if loss.per_unit is not None else [],
                    None,
                    quantity=rd.Quantity.MEAN,
                    support=loss.support,
                )
                measure = certified(
                    "next state",
                    NOT_DIVIDED.format(method),
                    confidence.certify(mean),
                    "mean squared error of a fitted affine map of directions, all tokens",
                    baseline=float(same),
                )
                rows.append((Place(*pair, modality), measure))
    return rows
