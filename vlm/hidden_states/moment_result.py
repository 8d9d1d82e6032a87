"""Statistics of all tokens on the host: merged over shards, read as reconstruction, alignment and information."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np

from redundancy import checks
from redundancy.array_types import FloatArray, IntArray
from redundancy.display import Displayed
from vlm.hidden_states.moment_calls import Modality
from vlm.hidden_states.moment_files import read_moments, write_moments
from vlm.hidden_states.moment_ridge import AffineMap, Reconstruction, fitted_map, joined, reconstruction
from vlm.hidden_states.moment_statistics import (
    RANK_TOLERANCE,
    canonical_correlations,
    centred_kernel_alignment,
    covariance_x,
    effective_rank,
    gaussian_information,
)
from vlm.hidden_states.moment_store import MomentSettings, MomentStore, Pair, merged
from vlm.hidden_states.moment_sums import MomentSums
from vlm.table import Table

Direction = Literal["forward", "backward"]
DIRECTIONS: tuple[Direction, ...] = ("forward", "backward")


@dataclass(frozen=True, eq=False, repr=False)
class Moments(Displayed):
    """Sufficient statistics of the states of all tokens, for pairs of layers; see :func:`vlm.moments`.

    Attributes
    ----------
    settings : MomentSettings
        What was recorded, of which model; two results merge if these agree.
    prompts, tokens : ndarray (modalities, folds)
        Numbers of prompts and tokens.
    left_out : ndarray (modalities,)
        Prompts whose states were not all finite (or, with normalised states, nonzero): in no sum.

    See Also
    --------
    vlm.moments : Records them.
    vlm.reconstruction_losses : Losses of the fitted maps on other images, for certificates.

    Examples
    --------
    >>> import vlm
    >>> from vlm import tiny
    >>> model, processor = vlm.load("tiny")
    >>> def recorded(asked, pilot=None):
    ...     images, prompts = [q.image for q in asked], [q.prompt for q in asked]
    ...     batch = processor(images=images, text=prompts, return_tensors="pt", padding=True)
    ...     with vlm.moments(model, pairs=[(6, 7)], modality="vision", pilot=pilot) as sums:
    ...         _ = model(**batch)
    ...     return sums.moments()
    >>> asked = tiny.questions(limit=40, kinds=("location",))
    >>> first = recorded(asked[:20])
    >>> both = first.merge(recorded(asked[20:], pilot=first))
    >>> both
    Moments(1 pair, vision, 40 prompts, 1440 tokens)
    >>> both.reconstruction((6, 7), "vision").relative < both.reconstruction((6, 7), "vision").relative_identity
    True
    """

    settings: MomentSettings
    prompts: IntArray
    tokens: IntArray
    left_out: IntArray
    _store: MomentStore = field(repr=False)

    @classmethod
    def of(cls, store: MomentStore) -> Moments:
        """The result of a recording."""
        return cls(store.settings, store.prompts, store.tokens, store.left_out, store)

    def __repr__(self) -> str:
        s = self.settings
        count = f"{len(s.pairs)} pair{'' if len(s.pairs) == 1 else 's'}"
        names = " + ".join(s.modalities)
        lost = f", {self.left_out.sum()} left out" if self.left_out.any() else ""
        projected = "" if s.project is None else f", projected to {s.project} of {s.width}"
        return (
            f"Moments({count}, {names}, {self.prompts.max(axis=0).sum()} prompts, {self.tokens.sum()} tokens"
            f"{projected}{lost})"
        )

    def sums(self, pair: Pair, modality: Modality) -> tuple[MomentSums, ...]:
        """The sums of each fold for one pair of layers.

        Raises
        ------
        ValueError
            A pair or modality that was not recorded, or of which there is no prompt.
        """
        return self._store.folds(self._checked(pair, modality), modality)

    def reconstruction(self, pair: Pair, modality: Modality, *, direction: Direction = "forward") -> Reconstruction:
        """Cross-fitted error of rebuilding the later state from the earlier ("forward"), or the reverse.

        Raises
        ------
        ValueError
            A pair or modality that was not recorded; a fold without prompts.
        """
        return reconstruction(self._towards(pair, modality, direction))

    def map(self, pair: Pair, modality: Modality, *, direction: Direction = "forward") -> AffineMap:
        """The affine map from one state of the pair to the other, fitted on all prompts.

        It is between states as they were recorded: divided by their norms if `settings.normalise` says so.
        """
        return fitted_map(self._towards(pair, modality, direction))

    def table(self) -> Table:
        """Tidy table, one row per (pair, modality) with at least one prompt in every fold.

        Returns
        -------
        Table
            Its columns:

            layer, later, modality
                The pair of states l < m.
            prompts, tokens
                What the sums are made of.
            variance, variance_back
                tr Cov of the later and of the earlier state, every prompt counting the same.
            reconstruction, reconstruction_back
                Cross-fitted error of the later state from the earlier, and of the earlier from the later.
            identity
                E|Y - X|^2; after normalising, twice the mean cosine distance.
            relative, relative_back, relative_identity
                Errors divided by the variance that they are about (`identity` by that of the later state).
            cka, cka_debiased
                Linear CKA (plain and unbiased); the latter is nan where an image has several prompts, of which it must
                not be told apart.
            canonical
                Mean square canonical correlation.
            gaussian_information
                Nats, as if states were Gaussian and tokens independent: a description.
            effective_rank, effective_rank_later
                Participation ratio of each state's covariance.

            From `cka` on, columns are about the projected states if there is a projection.

        Raises
        ------
        ValueError
            Fewer prompts than folds in every modality.
        """
        rows, tolerance = [], RANK_TOLERANCE[self.settings.precision]
        images = self._store.images
        repeated = images is not None and sum(map(len, images)) < self.prompts.max(axis=0).sum()
        for place, modality in enumerate(self.settings.modalities):
            if not self.prompts[place].all():
                continue
            for pair in self.settings.pairs:
                folds = self.sums(pair, modality)
                there, back = reconstruction(folds), reconstruction(tuple(f.reversed() for f in folds))
                whole = joined(folds)
                correlations = canonical_correlations(whole, rank_tolerance=tolerance).values
                rows.append(
                    {
                        "layer": pair[0],
                        "later": pair[1],
                        "modality": modality,
                        "prompts": whole.prompts,
                        "tokens": whole.tokens,
                        "variance": there.variance,
                        "variance_back": back.variance,
                        "reconstruction": there.error,
                        "reconstruction_back": back.error,
                        "identity": there.identity,
                        "relative": there.relative,
                        "relative_back": back.relative,
                        "relative_identity": there.relative_identity,
                        "cka": centred_kernel_alignment(whole, debiased=False),
                        "cka_debiased": float("nan") if repeated else centred_kernel_alignment(whole),
                        "canonical": float(np.mean(correlations**2)) if correlations.size else float("nan"),
                        "gaussian_information": gaussian_information(whole, rank_tolerance=tolerance),
                        "effective_rank": effective_rank(covariance_x(whole)),
                        "effective_rank_later": effective_rank(covariance_x(whole.reversed())),
                    }
                )
        if not rows:
            raise ValueError(
                f"moments: expected prompts in each of the {self.settings.folds} folds, got {self.prompts.tolist()} "
                f"({', '.join(self.settings.modalities)}); record more images, with the tokens that are asked for"
            )
        return Table.from_rows(rows)

    def merge(self, *others: Moments) -> Moments:
        """Join recordings of disjoint sets of prompts, in whatever order.

        With one pilot (`vlm.moments(..., pilot=first)`) the result is the same, bit for bit, however prompts were
        divided among recordings, as long as the model gave the same states. Sums about another pilot are first brought
        to that of `self`, which costs a rounding of about 1e-14 of the spread.

        Raises
        ------
        ValueError
            Recordings of another model, plan or setting, or one that announced images beside one that did not.
        """
        return Moments.of(merged((self._store, *(other._store for other in others))))

    def save(self, path: str | Path) -> Path:
        """Write one safetensors file, atomically, with the settings as JSON in its header; returns its path."""
        return write_moments(path, self._store)

    @classmethod
    def load(cls, path: str | Path) -> Moments:
        """Read what :meth:`save` wrote.

        Raises
        ------
        FileNotFoundError, ValueError
            No such file; a file that is cut off or holds something else.
        """
        return cls.of(read_moments(path))

    @property
    def image_keys(self) -> frozenset[int] | None:
        """Keys of all images, if they were announced."""
        images = self._store.images
        return None if images is None else frozenset(int(key) for fold in images for key in fold)

    def pilot(self, state: int, modality: Modality) -> FloatArray | None:
        """The shift (width,) of a state; None if no prompt of this modality has come."""
        return self._store.pilots.get((modality, state))

    def check_pilot(self, settings: MomentSettings) -> None:
        """Raise a ValueError unless a recording with these settings can use the shifts of this one."""
        mine = self.settings
        for name in ("model", "plan", "width", "normalise"):
            a, b = getattr(mine, name), getattr(settings, name)
            if a != b:
                raise ValueError(f"pilot: expected a recording of the same {name} ({b}), got {a}; leave it out")
        missing = sorted(set(settings.states) - set(mine.states))
        if missing:
            raise ValueError(f"pilot: expected a recording of all states in any pair, got none of {missing[:8]}")

    def _checked(self, pair: Pair, modality: Modality) -> Pair:
        s = self.settings
        checks.one_of(modality, s.modalities, name="modality")
        if tuple(pair) not in s.pairs:
            raise ValueError(f"pair: expected one of the recorded pairs of states {_listed(s.pairs)}, got {pair}")
        if not self.prompts[s.modalities.index(modality)].any():
            raise ValueError(f"moments: expected prompts with {modality} tokens, got none; record some")
        return pair[0], pair[1]

    def _towards(self, pair: Pair, modality: Modality, direction: Direction) -> tuple[MomentSums, ...]:
        checks.one_of(direction, DIRECTIONS, name="direction")
        folds = self.sums(pair, modality)
        return folds if direction == "forward" else tuple(fold.reversed() for fold in folds)


def _listed(pairs: tuple[Pair, ...]) -> str:
    shown = ", ".join(f"({a}, {b})" for a, b in pairs[:6])
    return f"{shown}, ..." if len(pairs) > 6 else shown
