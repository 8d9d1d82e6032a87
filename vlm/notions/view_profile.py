"""All measures of one view: what two layers share is computed pair by pair, what belongs to one layer only once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

import numpy as np
from numpy.typing import NDArray

from redundancy import checks
from redundancy.array_types import BoolArray, FloatArray
from vlm.notions import information_measures, informational_measures, pid_measures, reconstruction
from vlm.notions.chain_check import Checked, check_theorems, world_of
from vlm.notions.choices import Choices
from vlm.notions.codes import PairCodes, pair_codes
from vlm.notions.distance_measures import distance_measures
from vlm.notions.measures import Confidence, Measure, Notion, absent, measured
from vlm.notions.pid_measures import joint_distribution
from vlm.notions.similarity_measures import CKA, RANK, effective_rank, similarity_measure
from vlm.notions.targets import RowTarget
from vlm.notions.task_losses import Predictor, TaskLosses, functional_measures, task_losses
from vlm.notions.usable_measures import Reader, usable_measures


@dataclass(eq=False)
class ViewProfile:
    """The measures of one view.

    Attributes
    ----------
    states : function (layer) -> ndarray (rows, d)
        States of a layer.
    groups : ndarray (rows,)
        Image of each row.
    fit : ndarray of bool (rows,)
        Rows of the images that fix alphabets and thresholds; the others are measured where such are needed.
    target : RowTarget or str
        What is predicted, or why there is nothing.
    choices : Choices
        How everything is measured.
    confidence, of_layers : Confidence
        Of intervals about two layers, and about one.
    """

    states: Callable[[int], FloatArray]
    groups: NDArray[np.str_]
    fit: BoolArray
    target: RowTarget | str
    choices: Choices
    confidence: Confidence
    of_layers: Confidence
    _losses: dict[tuple[int, Predictor], TaskLosses | ValueError] = field(default_factory=dict)

    @property
    def images(self) -> int:
        """Number of images."""
        return int(checks.group_index(self.groups, len(self.groups))[1].size)

    def pair(self, earlier: int, later: int) -> tuple[list[Measure], list[Checked]]:
        """Everything about two layers, and the theorems on their codewords."""
        x, y = self.states(earlier), self.states(later)
        parts: dict[Notion, Callable[[], list[Measure]]] = {
            "geometric": partial(self._distances, x, y, "geometric"),
            "proximal": partial(self._distances, x, y, "proximal"),
            "functional": partial(self._functional, earlier, later),
            "next state": partial(self._next_state, x, y),
            "mutual information": partial(self._information, x, y),
            "similarity": partial(self._similarity, x, y),
        }
        rows = [row for notion, part in parts.items() if notion in self.choices.notions for row in part()]
        if not {"informational", "pid"} & set(self.choices.notions):
            return rows, []
        found = self._codes(x, y)
        if isinstance(found, PairCodes):
            rows += self._informational(found)
            return rows + self._pid(found), self._theorems(found)
        methods = {"informational": informational_measures.METHODS, "pid": pid_measures.METHODS}
        for notion in ("informational", "pid"):
            if notion in self.choices.notions:
                rows += [absent(notion, method, found, images=self.images) for method in methods[notion]]
        return rows, []

    def layer(self, layer: int) -> list[Measure]:
        """Everything about one layer."""
        rows: list[Measure] = []
        if "usable information" in self.choices.notions:
            rows += [row for reader in self.choices.readers for row in self._usable(layer, reader)]
        if "effective rank" in self.choices.notions:
            rows += measured(
                "effective rank", (RANK,), self.images, lambda: [effective_rank(self.states(layer), self.groups)]
            )
        return rows

    def _distances(self, x: FloatArray, y: FloatArray, notion: Notion) -> list[Measure]:
        def compute() -> list[Measure]:
            both = distance_measures(
                x, y, self.groups, t=self.choices.t, confidence=self.confidence, seed=self.choices.seed
            )
            return [row for row in both if row.notion == notion]

        method = "cosine distance" if notion == "geometric" else f"within {self.choices.t:g}"
        return measured(notion, (method,), self.images, compute)

    def _functional(self, earlier: int, later: int) -> list[Measure]:
        rows: list[Measure] = []
        for predictor in self.choices.predictors:
            losses = [self._task_losses(layer, predictor) for layer in (earlier, later)]
            refused = [one for one in losses if isinstance(one, ValueError)]
            if refused:
                rows.append(absent("functional", predictor, str(refused[0]), images=self.images))
                continue
            first, second = (one for one in losses if isinstance(one, TaskLosses))
            rows += functional_measures(first, second, predictor=predictor, confidence=self.confidence)
        return rows

    def _task_losses(self, layer: int, predictor: Predictor) -> TaskLosses | ValueError:
        key = layer, predictor
        if key not in self._losses:
            try:
                target = self._target()
                self._losses[key] = task_losses(
                    target.values,
                    self.states(layer)[target.rows],
                    self.groups[target.rows],
                    predictor=predictor,
                    folds=self.choices.folds,
                    seed=self.choices.seed,
                    target_range=None if target.classes else self.choices.target_range,
                )
            except ValueError as error:
                self._losses[key] = error
        return self._losses[key]

    def _target(self) -> RowTarget:
        if isinstance(self.target, str):
            raise ValueError(self.target)
        if len(self.target.classes) == 1:
            raise ValueError(f"target: expected at least two classes, got only {self.target.classes[0]!r}")
        return self.target

    def _classes(self) -> RowTarget:
        target = self._target()
        if not target.classes:
            raise ValueError("target: expected classes, got floats; only 'functional' reads them")
        return target

    def _next_state(self, x: FloatArray, y: FloatArray) -> list[Measure]:
        return measured(
            "next state",
            (reconstruction.LATER, reconstruction.EARLIER),
            self.images,
            lambda: reconstruction.reconstruction_measures(
                x, y, self.groups, folds=self.choices.folds, confidence=self.confidence, seed=self.choices.seed
            ),
        )

    def _information(self, x: FloatArray, y: FloatArray) -> list[Measure]:
        rest = ~self.fit
        return information_measures.information_measures(
            x[rest],
            y[rest],
            self.groups[rest],
            fit=(x[self.fit], y[self.fit]),
            confidence=self.confidence,
            seed=self.choices.seed,
        )

    def _similarity(self, x: FloatArray, y: FloatArray) -> list[Measure]:
        return measured(
            "similarity", (CKA,), self.images, lambda: [similarity_measure(x, y, self.groups, seed=self.choices.seed)]
        )

    def _usable(self, layer: int, reader: Reader) -> list[Measure]:
        def compute() -> list[Measure]:
            target = self._classes()
            return [
                usable_measures(
                    target.values,
                    self.states(layer)[target.rows],
                    self.groups[target.rows],
                    reader=reader,
                    folds=self.choices.folds,
                    confidence=self.of_layers,
                    seed=self.choices.seed,
                )
            ]

        return measured("usable information", (reader,), self.images, compute)

    def _codes(self, x: FloatArray, y: FloatArray) -> PairCodes | str:
        try:
            return pair_codes(
                (x[self.fit], y[self.fit]),
                (x[~self.fit], y[~self.fit]),
                size=self.choices.codes,
                radius=self.choices.radius,
                seed=self.choices.seed,
            )
        except ValueError as reason:
            return str(reason)

    def _informational(self, codes: PairCodes) -> list[Measure]:
        if "informational" not in self.choices.notions:
            return []
        return measured(
            "informational",
            informational_measures.METHODS,
            self.images,
            lambda: informational_measures.informational_measures(
                codes, self.groups[~self.fit], confidence=self.confidence, seed=self.choices.seed
            ),
        )

    def _answered(self, codes: PairCodes) -> tuple[RowTarget, PairCodes, NDArray[np.str_]]:
        """The target, codewords and images of the measured rows that have a target."""
        target = self._classes()
        measured_rows = ~self.fit
        both = target.rows & measured_rows
        if not both.any():
            raise ValueError("target: expected answers on the measured images, got none")
        values = target.values[both[target.rows]]
        kept = both[measured_rows]
        return (
            RowTarget(both, values, target.classes),
            PairCodes(codes.book, codes.x[kept], codes.y[kept], codes.radius),
            self.groups[both],
        )

    def _pid(self, codes: PairCodes) -> list[Measure]:
        if "pid" not in self.choices.notions:
            return []

        def compute() -> list[Measure]:
            target, words, groups = self._answered(codes)
            return pid_measures.pid_measures(
                target.codes,
                words,
                groups,
                classes=len(target.classes),
                replicates=self.choices.replicates,
                confidence=self.confidence,
                seed=self.choices.seed,
            )

        return measured("pid", pid_measures.METHODS, self.images, compute)

    def _theorems(self, codes: PairCodes) -> list[Checked]:
        try:
            target, words, groups = self._answered(codes)
        except ValueError:
            # Without answers the statements about X and Y alone are still worth reading: T is one of two classes.
            target_codes, words, groups = np.zeros((~self.fit).sum(), dtype=np.int64), codes, self.groups[~self.fit]
            return check_theorems(world_of(joint_distribution(target_codes, words, groups, 2), words))
        return check_theorems(world_of(joint_distribution(target.codes, words, groups, len(target.classes)), words))


def fitting_rows(groups: NDArray[np.str_], share: float, seed: int) -> BoolArray:
    """Rows of a random share of the images, the same for equal images: at least one image, and not all of them.

    Raises
    ------
    ValueError
        Fewer than two images.
    """
    names, index = np.unique(groups, return_inverse=True)
    if names.size < 2:
        raise ValueError(f"profile: expected states of at least two images, got {names.size}")
    count = min(max(round(share * names.size), 1), names.size - 1)
    fit = np.zeros(names.size, dtype=bool)
    fit[np.random.default_rng(seed).permutation(names.size)[:count]] = True
    return fit[index.reshape(-1)]
