"""Causal tracing of the image: corrupt it, put one clean state back, and see how much of the answer returns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

import bounds
from redundancy import Estimate, checks
from redundancy.array_types import FloatArray
from vlm.engine.forward_call import Call
from vlm.engine.hooks import Engine, attached
from vlm.engine.last_token import last_logits, last_tokens
from vlm.models.families import Family
from vlm.table import Table

TARGETS = ("vision", "text", "last")


@dataclass(frozen=True)
class Noise:
    """Corrupts the projected image tokens themselves: Gaussian noise on state 0, `scale` standard deviations of it."""

    scale: float = 3.0
    seed: int = 0


@dataclass(frozen=True, eq=False)
class Trace:
    """How much of the answer each restored state brings back.

    Attributes
    ----------
    targets : tuple of str
        Whose clean states were put back: "vision" (image tokens), "text" (all text tokens), "last" (the token that
        predicts the answer).
    window : int
        How many consecutive states were put back at once, from the named one on.
    answers, foils : int (samples,)
        Token ids of the answer that is followed, and of the one it is compared with.
    clean, corrupted : float (samples, 2)
        Probability of the answer and its logit minus the foil's, in the two reference runs.
    restored : float (samples, targets, L + 1, 2)
        The same with states l, l+1, .. of a target put back; l = 0..L.
    """

    targets: tuple[str, ...]
    window: int
    answers: NDArray[np.int64]
    foils: NDArray[np.int64]
    clean: FloatArray
    corrupted: FloatArray
    restored: FloatArray

    def __repr__(self) -> str:
        fall = self.corrupted[:, 0].mean() - self.clean[:, 0].mean()
        return (
            f"Trace({len(self.clean)} samples, {', '.join(self.targets)} restored at states 0..{self.depth}, window "
            f"{self.window}: probability {self.clean[:, 0].mean():.3f}, corrupted {fall:+.3f})"
        )

    @property
    def depth(self) -> int:
        """Number of decoder layers L."""
        return int(self.restored.shape[2]) - 1

    @classmethod
    def joined(cls, parts: Sequence[Trace]) -> Trace:
        """Traces of several batches, made with the same settings, as one."""
        if not parts or len({(p.targets, p.window, p.depth) for p in parts}) > 1:
            raise ValueError("traces: expected at least one, all with the same targets, window and model")
        arrays = ("answers", "foils", "clean", "corrupted", "restored")
        return cls(
            parts[0].targets, parts[0].window, *(np.concatenate([getattr(p, name) for p in parts]) for name in arrays)
        )

    def table(self, *, images: ArrayLike | None = None, confidence: float = 0.95) -> Table:
        """One row per (target, state).

        Columns
        -------
        probability, logit_difference
            Means over images, after the restoration.
        gain, gain_low, gain_high
            Probability above the corrupted run's, with limits that hold together for all rows.
        recovery, recovery_logits
            Share of what the corruption took, as a ratio of means: 0 = nothing, 1 = all. May leave [0, 1]. NaN where
            the corruption took less than 1e-6 on average.

        Parameters
        ----------
        images : array (samples,), optional
            Image of each sample, the unit of sampling; without it each sample is its own.
        """
        images = np.arange(len(self.clean)) if images is None else images
        index, sizes = checks.group_index(images, len(self.clean))
        shape = self.restored.shape[1:3]
        gains = self.restored - self.corrupted[:, None, None, :]
        estimate = Estimate.over_units(
            gains[..., 0].reshape(len(gains), -1), images, quantity="probability gained", support=(-1.0, 1.0)
        )
        limits = bounds.certify_mean(estimate, confidence)
        weight = 1.0 / sizes[index] / sizes.size
        lost = weight @ (self.clean - self.corrupted)
        recovery = np.einsum("s,stlm->mtl", weight, gains) / np.where(np.abs(lost) > 1e-6, lost, np.nan)[:, None, None]
        mean = np.einsum("s,stlm->mtl", weight, self.restored)
        target, state = (a.reshape(-1) for a in np.indices(shape))
        return Table(
            {
                "target": np.array(self.targets)[target],
                "state": state,
                "probability": mean[0].reshape(-1),
                "logit_difference": mean[1].reshape(-1),
                "gain": np.asarray(estimate.value),
                "gain_low": np.asarray(limits.low),
                "gain_high": np.asarray(limits.high),
                "recovery": recovery[0].reshape(-1),
                "recovery_logits": recovery[1].reshape(-1),
            }
        )


@torch.no_grad()
def trace(
    model: Any,
    batch: Mapping[str, Any],
    corruption: Mapping[str, Any] | Noise,
    *,
    answers: ArrayLike | None = None,
    foils: ArrayLike | None = None,
    targets: Sequence[str] = TARGETS,
    window: int = 1,
    family: Family | None = None,
) -> Trace:
    """Restore clean states, one (layer, modality) or window at a time, in a run whose image is corrupted.

    Needs 2 + targets x (L + 1) forward calls, and keeps the L + 1 clean states of the batch meanwhile.

    Parameters
    ----------
    model : PreTrainedModel
        A vision-language model of a known family.
    batch : mapping
        What the processor returned for clean images; left or right padding.
    corruption : mapping or Noise
        Arguments that replace the batch's own (`{"pixel_values": other}`, or a whole batch with the same
        `input_ids`: a blank or another image), or noise on the projected image tokens. Families that feed image
        features into later layers too (Qwen3-VL) keep those clean under Noise, and corrupt under another image whatever
        state is put back.
    answers : int (samples,), optional
        Token ids of the answers to follow; default: what the clean run predicts.
    foils : int (samples,), optional
        Token ids that the logit difference subtracts; default: the corrupted run's best other token.
    targets : sequence of {"vision", "text", "last"}
        Whose states to put back. "text" includes the last token.
    window : int
        Restore states l..l+window-1 together.
    family : Family, optional
        For a model that is not of a known family.

    Returns
    -------
    Trace

    Raises
    ------
    ValueError
        Other tokens in the corrupted batch, unknown targets, a batch without image tokens.
    """
    targets = tuple(targets)
    if not targets or not set(targets) <= set(TARGETS):
        raise ValueError(f"targets: expected some of {', '.join(TARGETS)}, got {targets}")
    with attached(model, family) as engine:
        depth = engine.parts.depth
        if not 1 <= window <= depth + 1:
            raise ValueError(f"window: expected a number of states in 1..{depth + 1}, got {window}")
        spoil, other = _corruption(batch, corruption)
        clean_states: list[Tensor] = []
        where: dict[str, Tensor] = {}

        def keep(call: Call, state: int, value: Tensor) -> Tensor:
            clean_states.append(value)
            last = torch.zeros_like(call.real).scatter_(1, last_tokens(call.real)[:, None], True)
            where.update(vision=call.vision, text=call.text, last=last)
            return value

        clean = _run(engine, batch, keep)
        if not where["vision"].any():
            raise ValueError("batch: expected prompts with an image, got none; there is nothing to corrupt")
        corrupted = _run(engine, other, spoil)
        answer = _ids(answers, clean.argmax(dim=-1), "answers", clean)
        best = corrupted.scatter(1, answer[:, None], -torch.inf).argmax(dim=-1)
        foil = _ids(foils, best, "foils", clean)

        def restoring(target: str, first: int) -> FloatArray:
            def restore(call: Call, state: int, value: Tensor) -> Tensor:
                value = spoil(call, state, value)
                if first <= state < first + window:
                    value = torch.where(where[target].unsqueeze(-1), clean_states[state], value)
                return value

            return _followed(_run(engine, other, restore), answer, foil)

        restored = np.stack(
            [np.stack([restoring(target, first) for first in range(depth + 1)], axis=1) for target in targets], axis=1
        )
    return Trace(
        targets,
        window,
        answer.cpu().numpy(),
        foil.cpu().numpy(),
        _followed(clean, answer, foil),
        _followed(corrupted, answer, foil),
        restored,
    )


def _run(engine: Engine, batch: Mapping[str, Any], rewrite: Any) -> Tensor:
    with engine.rewrite_states(rewrite):
        return last_logits(engine.parts.model, batch)


def _corruption(batch: Mapping[str, Any], corruption: Mapping[str, Any] | Noise) -> tuple[Any, Mapping[str, Any]]:
    """What to do to the states, and which batch to run, for a corrupted run."""
    if isinstance(corruption, Noise):

        def spoil(call: Call, state: int, value: Tensor) -> Tensor:
            if state or not call.vision.any():
                return value
            generator = torch.Generator().manual_seed(corruption.seed)
            noise = torch.randn(value.shape, generator=generator).to(value)
            return torch.where(
                call.vision.unsqueeze(-1), value + corruption.scale * value[call.vision].std() * noise, value
            )

        return spoil, batch
    if not isinstance(corruption, Mapping):
        raise TypeError(
            f"corruption: expected a mapping of forward arguments or Noise(), got {type(corruption).__name__}"
        )
    other = {**batch, **corruption}
    for name in ("input_ids", "attention_mask"):
        if name in batch and not torch.equal(batch[name], other[name]):
            raise ValueError(f"corruption: expected the same {name} as in the clean batch; change the image only")
    return (lambda call, state, value: value), other


def _ids(given: ArrayLike | None, default: Tensor, name: str, logits: Tensor) -> Tensor:
    if given is None:
        return default
    ids = np.asarray(given)
    if ids.shape != tuple(default.shape) or ids.dtype.kind not in "iu" or ids.min() < 0 or ids.max() >= logits.shape[1]:
        raise ValueError(
            f"{name}: expected one token id in 0..{logits.shape[1] - 1} per sample, shape {tuple(default.shape)}, got "
            f"shape {ids.shape} of {ids.dtype}"
        )
    return torch.as_tensor(ids, dtype=torch.long, device=default.device)


def _followed(logits: Tensor, answer: Tensor, foil: Tensor) -> FloatArray:
    """(samples, 2): probability of the answer, and its logit minus the foil's."""
    picked = logits.gather(1, torch.stack([answer, foil], dim=1))
    probability = torch.softmax(logits, dim=-1).gather(1, answer[:, None])[:, 0]
    return torch.stack([probability, picked[:, 0] - picked[:, 1]], dim=1).cpu().numpy()
