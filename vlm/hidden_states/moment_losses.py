"""Losses of fitted maps on other images: what a certificate of reconstruction rests on."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from redundancy import checks
from redundancy.array_types import FloatArray
from redundancy.estimate import Estimate, Quantity
from vlm.engine.forward_call import Call
from vlm.engine.hooks import attached
from vlm.hidden_states.moment_calls import Announced, HeldCall, Modality, Part
from vlm.hidden_states.moment_folds import image_key
from vlm.hidden_states.moment_recorder import normalised
from vlm.hidden_states.moment_result import DIRECTIONS, Direction, Moments
from vlm.hidden_states.moment_ridge import AffineMap
from vlm.hidden_states.moment_store import Pair
from vlm.measure.records import GrowingRecord
from vlm.models.families import Family
from vlm.models.fingerprint import loaded_identity
from vlm.models.types import Arguments, Model

# Largest squared distance of two vectors in the unit ball.
LARGEST_LOSS = 4.0
Key = tuple[Pair, Modality, Direction]


@dataclass(eq=False, repr=False)
class ReconstructionLosses(GrowingRecord):
    """Mean squared errors of fitted maps on each prompt, as :func:`vlm.reconstruction_losses` records them.

    Attributes
    ----------
    fitted : Moments
        What the maps were fitted on.

    See Also
    --------
    vlm.reconstruction_losses : Makes one.
    bounds.certify : Takes the estimates of :meth:`estimate`.

    Examples
    --------
    >>> import vlm
    >>> from vlm import tiny
    >>> model, processor = vlm.load("tiny")
    >>> def batch_of(asked):
    ...     images, prompts = [q.image for q in asked], [q.prompt for q in asked]
    ...     return processor(images=images, text=prompts, return_tensors="pt", padding=True)
    >>> asked = tiny.questions(limit=60, kinds=("location",))
    >>> with vlm.moments(model, pairs=[(6, 7)], modality="vision", normalise=True) as sums:
    ...     _ = model(**batch_of(asked[:40]))
    >>> with vlm.reconstruction_losses(model, sums.moments()) as losses:
    ...     _ = model(**batch_of(asked[40:]))
    >>> losses
    ReconstructionLosses(samples=20, fitted=Moments(1 pair, vision, 40 prompts, 1440 tokens))
    """

    fitted: Moments
    _maps: dict[Key, AffineMap] = field(default_factory=dict)
    _announced: Announced = field(default_factory=lambda: Announced("reconstruction_losses"))
    _held: HeldCall | None = None
    _on_device: dict[tuple[Key, torch.device], tuple[Tensor, ...]] = field(default_factory=dict)
    _losses: dict[Key, list[tuple[int, float, float]]] = field(default_factory=dict)
    _labels: list[str | None] = field(default_factory=list)

    @property
    def samples(self) -> int:
        """Number of prompts seen."""
        return len(self._labels)

    @property
    def measured(self) -> tuple[Key, ...]:
        """(pair, modality, direction) of every map that has losses."""
        return tuple(self._losses)

    def expect(self, groups: ArrayLike) -> None:
        """Say which image each row of the next forward call is about; see :meth:`vlm.MomentsRecord.expect`."""
        self._announced.expect(groups)

    def check(self, given: Arguments) -> None:
        """Refuse a call about images that the maps were fitted on (called by the hooks)."""
        self._announced.check(given)
        known = self.fitted.image_keys
        both = [label for label in self._announced.images or () if known is not None and image_key(label) in known]
        if both:
            raise ValueError(
                f"reconstruction_losses: expected images that the maps were not fitted on, got {both[0]!r}"
                f"{f' and {len(both) - 1} more' if len(both) > 1 else ''}; divide the images before recording"
            )

    @torch.no_grad()
    def observe(self, call: Call, layer: int, before: Tensor, after: Tensor) -> None:
        """Hold one layer's states (called by the hooks)."""
        if call.past:
            return
        if layer == 0 or self._held is None:
            s = self.fitted.settings
            self._held = HeldCall(frozenset(state for key in self._maps for state in key[0]), s.depth, s.modalities)
        self._held.take(call, layer, before, after)

    @torch.no_grad()
    def finish(self, call: Call) -> None:
        """Take the losses of a forward call that has ended (called by the hooks)."""
        held, self._held = self._held, None
        if held is None or not held.complete:
            return
        labels = self._announced.taken(held.batch)
        usable = held.usable(normalise=self.fitted.settings.normalise)
        for key in self._maps:
            for part in held.parts:
                if part.modality == key[1]:
                    both = self._mean_losses(key, part, held) if usable[part] else self._undefined
                    self._losses.setdefault(key, []).append((len(self._labels) + part.row, *both))
        self._labels += labels

    def estimate(
        self, pair: Pair, modality: Modality, *, direction: Direction = "forward", identity: bool = False
    ) -> Estimate:
        """The mean loss of the fitted map, with one number per image, ready for `bounds.certify`.

        Parameters
        ----------
        pair : (int, int)
            States l < m.
        modality : {"vision", "text"}
            Which tokens.
        direction : {"forward", "backward"}
            The later state from the earlier, or the reverse.
        identity : bool
            The loss |y - x|^2 of the identity map instead.

        Returns
        -------
        Estimate
            Squared units of the states; `support` is (0, 4) for normalised states, where reconstructions are projected
            onto the unit ball and a prompt with an undefined direction counts as 4, and (0, inf) for others:
            `bounds.certify(..., side="upper", largest_loss=...)` then needs a bound that you know in advance.

        Raises
        ------
        ValueError
            A pair, modality or direction of which there are no losses; an infinite loss.
        """
        key: Key = (pair[0], pair[1]), modality, direction
        if key not in self._maps:
            known = ", ".join(sorted({f"{k[0]} {k[1]} {k[2]}" for k in self._maps})[:4])
            raise ValueError(
                f"estimate: expected one of the fitted maps ({known}, ...), got {pair} {modality} {direction}"
            )
        rows = self._losses.get(key, [])
        if not rows:
            raise ValueError(f"estimate: expected prompts with {modality} tokens, got none; run some in the context")
        labels = [self._labels[place] for place, _, _ in rows]
        groups = None if None in labels else np.array(labels)
        settings = self.fitted.settings
        return Estimate.over_units(
            np.array([row[2] if identity else row[1] for row in rows]),
            np.array([place for place, _, _ in rows]) if groups is None else groups,
            quantity=Quantity.MMSE,
            support=(0.0, LARGEST_LOSS if settings.normalise else math.inf),
            unit="1" if settings.normalise else "z²",
            settings={
                "pair": f"{pair[0]}-{pair[1]}",
                "modality": modality,
                "direction": direction,
                "map": "identity" if identity else f"ridge on {int(self.fitted.prompts.max(axis=0).sum())} prompts",
            },
            details={"fold_of_unit": None},
        )

    def _measured(self) -> dict[str, object]:
        names = {key: f"{key[0][0]}-{key[0][1]} {key[1]} {key[2]}" for key in self._losses}
        return {"losses": {names[key]: [row[1] for row in rows] for key, rows in self._losses.items()}}

    @property
    def _undefined(self) -> tuple[float, float]:
        value = LARGEST_LOSS if self.fitted.settings.normalise else math.inf
        return value, value

    def _mean_losses(self, key: Key, part: Part, held: HeldCall) -> tuple[float, float]:
        """Mean losses of the fitted map and of the identity over the tokens of one prompt."""
        (earlier, later), _, direction = key
        source, target = (earlier, later) if direction == "forward" else (later, earlier)
        y = held.rows[target][part.start : part.stop].to(torch.float64)
        x = held.rows[source][part.start : part.stop].to(y.device, torch.float64)
        unit = self.fitted.settings.normalise
        if unit:
            x, y = normalised(x), normalised(y)
        weights, offset, basis = self._arrays(key, y.device)
        u = x if basis.numel() == 0 else x @ basis.T
        rebuilt = self._maps[key].scale * x + u @ weights + offset
        if unit:
            # Onto the unit ball, which holds y: never farther from it.
            rebuilt = rebuilt / torch.linalg.vector_norm(rebuilt, dim=-1, keepdim=True).clamp(min=1.0)
        both = [float((y - guess).square().sum(dim=-1).mean()) for guess in (rebuilt, x)]
        # A mean of numbers in [0, 4] may leave it by an ulp.
        return (min(both[0], LARGEST_LOSS), min(both[1], LARGEST_LOSS)) if unit else (both[0], both[1])

    def _arrays(self, key: Key, device: torch.device) -> tuple[Tensor, ...]:
        if (key, device) not in self._on_device:
            fit = self._maps[key]
            arrays: Sequence[FloatArray] = (fit.weights, fit.offset, np.zeros(0) if fit.basis is None else fit.basis)
            self._on_device[key, device] = tuple(torch.as_tensor(a, device=device) for a in arrays)
        return self._on_device[key, device]


@contextmanager
def reconstruction_losses(
    model: Model,
    fitted: Moments,
    *,
    pairs: Sequence[Pair] | None = None,
    direction: Direction | None = None,
    family: Family | None = None,
) -> Iterator[ReconstructionLosses]:
    """Measure the maps that were fitted on some images on others, prompt by prompt.

    Parameters
    ----------
    model : PreTrainedModel
        The model that `fitted` was recorded from, under the same plan.
    fitted : Moments
        From ``vlm.moments(..., normalise=True)`` if the losses are to be certified without further assumptions.
    pairs : sequence of (int, int), optional
        Recorded pairs to measure; all of them by default.
    direction : {"forward", "backward"}, optional
        The later state from the earlier, or the reverse; both by default.
    family : Family, optional
        For a model that is not of a known family.

    Yields
    ------
    ReconstructionLosses
        ``losses.estimate(pair, modality)`` after one or more forward calls.

    Raises
    ------
    ValueError, TypeError
        Another model or plan than that of `fitted`, pairs that were not recorded; during a forward call, images that
        the maps were fitted on.

    See Also
    --------
    vlm.moments : Records what the maps are fitted on.
    bounds.certify : Upper confidence limits of the mean loss.
    bounds.functional_from_reconstruction : What such a limit implies, by Corollary 5 of (3.2).

    Notes
    -----
    A map h that does not depend on the images that it is measured on has E|Y - h(X)|^2 >= mmse(Y | X), so that an upper
    limit of its mean loss is one of mmse(Y | X). With normalised states a reconstruction is projected onto the unit
    ball; a loss is then in [0, 4].

    References
    ----------
    Theory, section 3: (3.1) and Corollary 5 (docs/explanation/theory).

    Examples
    --------
    How far state 7 of the vision tokens is from an affine function of state 6, certified for new images:

    >>> import bounds
    >>> import vlm
    >>> from vlm import tiny
    >>> model, processor = vlm.load("tiny")
    >>> def batch_of(asked):
    ...     images, prompts = [q.image for q in asked], [q.prompt for q in asked]
    ...     return processor(images=images, text=prompts, return_tensors="pt", padding=True)
    >>> asked = tiny.questions(limit=160, kinds=("location",))
    >>> with vlm.moments(model, pairs=[(6, 7)], modality="vision", normalise=True) as sums:
    ...     sums.expect([q.image_id for q in asked[:80]])
    ...     _ = model(**batch_of(asked[:80]))
    >>> with vlm.reconstruction_losses(model, sums.moments(), direction="forward") as losses:
    ...     losses.expect([q.image_id for q in asked[80:]])
    ...     _ = model(**batch_of(asked[80:]))
    >>> bounds.certify(losses.estimate((6, 7), "vision"), side="upper")
    mmse in [0, 0.1837] at confidence 0.95 (betting, n = 80 images)
    >>> bounds.certify(losses.estimate((6, 7), "vision", identity=True), side="upper")
    mmse in [0, 0.2255] at confidence 0.95 (betting, n = 80 images)
    """
    if not isinstance(fitted, Moments):
        raise TypeError(f"fitted: expected Moments (sums.moments()), got {type(fitted).__name__}")
    if direction is not None:
        checks.one_of(direction, DIRECTIONS, name="direction")
    directions = DIRECTIONS if direction is None else (direction,)
    settings = fitted.settings
    with attached(model, family) as engine:
        now = {"model": loaded_identity(model), "plan": "none" if engine.plan is None else str(engine.plan)}
        for name, value in now.items():
            if value != getattr(settings, name):
                raise ValueError(
                    f"fitted: expected moments of the {name} that runs now ({value}), got those of "
                    f"{getattr(settings, name)}"
                )
        maps: dict[Key, AffineMap] = {}
        wanted = settings.pairs if pairs is None else [(int(a), int(b)) for a, b in pairs]
        for place, modality in enumerate(settings.modalities):
            if fitted.prompts[place].all():
                for pair in wanted:
                    maps |= {(pair, modality, d): fitted.map(pair, modality, direction=d) for d in directions}
        if not maps:
            raise ValueError(
                f"fitted: expected prompts in every fold, got {fitted.prompts.tolist()}; record more images first"
            )
        record = ReconstructionLosses(fitted, maps)
        with engine.check_calls(record.check), engine.watch_layers(record.observe, record.finish):
            yield record
