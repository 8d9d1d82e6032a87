"""The layers that methods chose in their papers, compared with the redundancy published for the same models."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.stats import hypergeom, kendalltau, rankdata

from redundancy.display import Displayed
from vlm.published import early_exit, late_entry
from vlm.selectors.smooth_orders import DRAWS, LENGTHS, holm, smooth_scores
from vlm.table import Table


@dataclass(frozen=True, repr=False)
class PublishedChoice(Displayed):
    """The layers that a paper skips; if `ordered`, in the order in which they are skipped."""

    method: str
    model: str
    depth: int
    layers: tuple[int, ...]
    ordered: bool


def _numbers(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in text.split())


# ShortV: README of github.com/icip-cas/ShortV, "Replaced Layers". ShortGPT: table 9 of arXiv:2403.03853; the README of
# github.com/icip-cas/ShortGPT prints the same layers sorted.
PUBLISHED = (
    PublishedChoice(
        "ShortV", "llava-1.5-7b", 32, _numbers("31 29 30 28 0 26 27 25 24 22 23 21 2 3 20 18 17 12 19"), True
    ),
    PublishedChoice(
        "ShortV",
        "llava-1.5-13b",
        40,
        _numbers("39 32 28 36 27 37 29 30 1 38 25 31 2 26 23 34 0 33 35 22 24 21 20 17"),
        True,
    ),
    PublishedChoice(
        "ShortV", "llava-next-7b", 32, _numbers("31 29 30 28 26 27 22 24 21 23 25 20 19 17 18 15 12 0 2"), True
    ),
    PublishedChoice(
        "ShortV",
        "llava-next-13b",
        40,
        _numbers("39 32 29 36 27 30 37 23 25 31 26 2 28 22 33 35 34 24 38 21 20 18 1 17"),
        True,
    ),
    PublishedChoice("ShortGPT (text model)", "llama-2-7b", 32, _numbers("27 26 25 28 24 29 23 21 22"), True),
    PublishedChoice("ShortGPT (text model)", "llama-2-13b", 40, _numbers("33 31 32 30 29 34 28 35 27 26"), True),
    PublishedChoice("ShortGPT (text model)", "baichuan2-7b", 32, _numbers("26 27 25 28 24 29 23 22 30"), True),
    PublishedChoice("ShortGPT (text model)", "baichuan2-13b", 40, _numbers("32 31 33 30 34 29 28 35 27 26"), True),
)


def published_regions(*, early: int = 4, late: float = 0.75) -> Table:
    """How many of a paper's chosen layers lie in the early and late layers, where image tokens are redundant.

    The theory's paper finds image tokens redundant up to about layer 4 and again from about three quarters of
    the depth on.

    Parameters
    ----------
    early : int
        Layers 0 .. early - 1 count as early.
    late : float
        Layers from this fraction of the depth on count as late.

    Returns
    -------
    Table
        One row per published choice: method, model, chosen, region (its layers), inside (chosen layers in it),
        inside_by_chance; p_inside (probability of as many or more by a random choice of as many layers, each set
        equally likely), p_smooth (by those that unrelated smooth scores rank lowest, the largest over their lengths)
        and p_corrected (the latter, by Holm, for the number of rows).
    """
    rows = []
    for choice in PUBLISHED:
        region = {*range(early), *range(round(late * choice.depth), choice.depth)}
        inside, chosen = len(region & set(choice.layers)), len(choice.layers)
        rows.append(
            {
                "method": choice.method,
                "model": choice.model,
                "chosen": f"{chosen} of {choice.depth}",
                "region": len(region),
                "inside": inside,
                "inside_by_chance": chosen * len(region) / choice.depth,
                "p_inside": float(hypergeom.sf(inside - 1, choice.depth, len(region), chosen)),
                "p_smooth": _by_smooth_chance(region, inside, chosen, choice.depth),
            }
        )
    corrected = holm([float(str(row["p_smooth"])) for row in rows])
    return Table.from_rows([{**row, "p_corrected": p} for row, p in zip(rows, corrected, strict=True)])


def _by_smooth_chance(region: set[int], inside: int, chosen: int, depth: int) -> float:
    """How often as many of the layers that unrelated smooth scores rank lowest lie in a region."""
    rng, worst = np.random.default_rng(0), 0.0
    for length in LENGTHS:
        lowest = rankdata(smooth_scores(depth, length * depth, DRAWS, rng), axis=1) <= chosen
        as_many = (lowest[:, sorted(region)].sum(axis=1) >= inside).sum()
        worst = max(worst, float((1 + as_many) / (1 + DRAWS)))
    return worst


def published_orders() -> Table:
    """A paper's order of layers against the published P(distance <= 0.05) of image tokens, at the layers in the tables.

    Layers that it does not skip share the last place; models without published probabilities are left out. The
    probability is the mean over task groups.

    Returns
    -------
    Table
        One row per model: model, layers (in the tables), closeness (the probabilities), place (the paper's, 0 first),
        kendall (tau-b of closeness and earliness, in [-1, 1]; 1 = the same order).
    """
    rows = []
    for choice in PUBLISHED:
        closeness: dict[int, list[float]] = {}
        for table in (late_entry(), early_exit()):
            for row in table.where(model=choice.model).rows():
                if np.isfinite(row["within_vision"]):
                    closeness.setdefault(row["layer"], []).append(row["within_vision"])
        if not closeness or not choice.ordered:
            continue
        layers = sorted(closeness)
        close = [float(np.mean(closeness[layer])) for layer in layers]
        place = [choice.layers.index(layer) if layer in choice.layers else len(choice.layers) for layer in layers]
        rows.append(
            {
                "model": choice.model,
                "layers": " ".join(map(str, layers)),
                "closeness": " ".join(f"{value:.2f}" for value in close),
                "place": " ".join(map(str, place)),
                "kendall": float(kendalltau(close, [-p for p in place]).statistic),
            }
        )
    return Table.from_rows(rows)
