"""Causal tracing: corrupt the image, restore one clean state, and measure how much of the answer comes back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

import bounds
from redundancy import Estimate, checks
from redundancy.array_types import FloatArray, IntArray
from redundancy.display import Displayed
from vlm.engine.forward_call import Call
from vlm.engine.hooks import Engine, StateRewriter, attached
from vlm.engine.last_token import last_logits, last_tokens
from vlm.models.families import Family
from vlm.models.types import Model
from vlm.progress_bar import by_count
from vlm.table import Table

Target = Literal["vision", "text", "last"]
TARGETS: tuple[Target, ...] = get_args(Target)


@dataclass(frozen=True, repr=False)
class Noise(Displayed):
    """Corruption of the image by Gaussian noise on the projected image tokens (state 0).

    A sample's noise depends on its own image tokens, the seed and the draw, never on the batch around it: the same
    prompt is corrupted alike alone and beside others.

    Attributes
    ----------
    scale : float
        Standard deviation of the noise, in standard deviations of the image tokens' entries.
    seed : int
        Seed of the noise. Samples share the noise of their image tokens, in order.
    draws : int
        Noises whose runs are averaged; one draw alone can leave an answer or take it away.
    deviation : float, optional
        Standard deviation of image tokens' entries, the unit of `scale`; by default that of each sample's own.

    See Also
    --------
    vlm.trace : Takes one as `corruption`.

    References
    ----------
    Meng et al. (2022), *Locating and Editing Factual Associations in GPT*, arXiv:2202.05262 (noise of three
    standard deviations on the subject's embeddings).

    Examples
    --------
    >>> import vlm
    >>> vlm.Noise()
    Noise(scale=3, seed=0, draws=4, deviation=None)
    >>> vlm.Noise(scale=1.0, seed=7, deviation=0.02)
    Noise(scale=1, seed=7, draws=4, deviation=0.02)
    """

    scale: float = 3.0
    seed: int = 0
    draws: int = 4
    deviation: float | None = None

    def __post_init__(self) -> None:
        if self.draws < 1:
            raise ValueError(f"draws: expected at least 1 draw of the noise, got {self.draws}")


@dataclass(frozen=True, eq=False, repr=False)
class Trace(Displayed):
    """How much of the answer each restored state brings back, mean over draws; the result of :func:`vlm.trace`.

    Attributes
    ----------
    targets : tuple of str
        Whose clean states were restored: "vision" (image tokens), "text" (all text tokens), "last" (the last prompt
        token, which predicts the answer).
    window : int
        How many consecutive states were restored at once, starting with the named one.
    answers, foils : int (samples,)
        Token ids of the answer that is followed, and of the token it is compared with.
    clean, corrupted : float (samples, 2)
        Probability of the answer and its logit minus the foil's, in the two reference runs.
    restored : float (samples, targets, L + 1, 2)
        The same with states l, l+1, .. of a target restored; l = 0..L.
    draws : float (samples, draws, 2)
        The corrupted run of each draw of the noise; one draw for a corrupted image.

    See Also
    --------
    vlm.trace : Makes one.

    Examples
    --------
    >>> import vlm
    >>> from vlm import tiny
    >>> model, processor = vlm.load("tiny")
    >>> asked = tiny.questions(limit=2, kinds=("location", "count"))
    >>> images, prompts = [q.image for q in asked], [q.prompt for q in asked]
    >>> batch = processor(images=images, text=prompts, return_tensors="pt", padding=True)
    >>> blank = processor(images=[tiny.blank_image()] * 2, text=prompts, return_tensors="pt", padding=True)
    >>> result = vlm.trace(model, batch, blank, targets=("vision", "last"))
    >>> result
    Trace(2 samples, vision, last restored at states 0..10, window 1: probability 0.996, corrupted -0.076)
    >>> result.restored.shape  # samples, targets, states, (probability, logit difference)
    (2, 2, 11, 2)
    >>> result.table()
    Table(22 rows: target, state, probability, logit_difference, gain, gain_low, gain_high, recovery, recovery_logits)
    """

    targets: tuple[Target, ...]
    window: int
    answers: IntArray
    foils: IntArray
    clean: FloatArray
    corrupted: FloatArray
    restored: FloatArray
    draws: FloatArray

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

    @property
    def spread(self) -> FloatArray:
        """(samples,): standard deviation over draws of the answer's probability under corruption, 0 for one draw."""
        if self.draws.shape[1] == 1:
            return np.zeros(len(self.draws))
        return np.asarray(self.draws[..., 0].std(axis=1, ddof=1))

    @classmethod
    def joined(cls, parts: Sequence[Trace]) -> Trace:
        """Join the traces of several batches, made with the same settings.

        Parameters
        ----------
        parts : sequence of Trace
            At least one.

        Returns
        -------
        Trace

        Raises
        ------
        ValueError
            No trace, or traces with different targets, windows, depths or draws.
        """
        if not parts or len({(p.targets, p.window, p.depth, p.draws.shape[1]) for p in parts}) > 1:
            raise ValueError("traces: expected at least one, all with the same targets, window, model and draws")
        arrays = ("answers", "foils", "clean", "corrupted", "restored", "draws")
        return cls(
            parts[0].targets, parts[0].window, *(np.concatenate([getattr(p, name) for p in parts]) for name in arrays)
        )

    def table(self, *, groups: ArrayLike | None = None, confidence: float = 0.95) -> Table:
        """One row per (target, state).

        Parameters
        ----------
        groups : array (samples,), optional
            Image of each sample, the unit of sampling; by default each sample is its own image.
        confidence : float
            Of all limits together, in (0, 1).

        Returns
        -------
        Table
            Its columns:

            target, state
                Whose state was restored, and which (0..L).
            probability, logit_difference
                Means over images, after the restoration.
            gain, gain_low, gain_high
                Probability minus that of the corrupted run, with confidence limits that hold together for all rows.
            recovery, recovery_logits
                Fraction of what the corruption took away that comes back, as a ratio of means: 0 = nothing, 1 = all.
                May leave [0, 1]. NaN where the corruption took away less than 1e-6 on average.
        """
        images = np.arange(len(self.clean)) if groups is None else groups
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
    model: Model,
    batch: Mapping[str, Tensor],
    corruption: Mapping[str, Tensor] | Noise,
    *,
    answers: ArrayLike | None = None,
    foils: ArrayLike | None = None,
    targets: Sequence[Target] = TARGETS,
    window: int = 1,
    family: Family | None = None,
    progress: bool = False,
) -> Trace:
    """Causal tracing: restore clean states, one (target, state) at a time, in a run whose image is corrupted.

    Where the restored state brings the answer back, the image's information passes through it. Needs
    1 + draws x (1 + targets x (L + 1)) forward calls, where draws is 1 but for `Noise`; the L + 1 clean states of the
    batch are kept in memory during the call.

    Parameters
    ----------
    model : PreTrainedModel
        A vision-language model of a known family.
    batch : mapping
        The processor's output for the clean images, padded on the left or on the right.
    corruption : mapping or Noise
        Forward arguments that replace the batch's own (`{"pixel_values": other}`, or a whole batch with the same
        `input_ids`: a blank or another image), or noise on the projected image tokens. Families that also feed image
        features into later layers (Qwen3-VL) keep those clean under `Noise`, and under another image they stay
        corrupted whichever state is restored.
    answers : int (samples,), optional
        Token ids of the answers to follow; by default what the clean run predicts.
    foils : int (samples,), optional
        Token ids whose logit is subtracted; by default the corrupted run's most likely other token.
    targets : sequence of {"vision", "text", "last"}
        Whose states to restore. "text" includes the last prompt token.
    window : int
        Number of states restored together: l..l+window-1, in 1..L+1.
    family : Family, optional
        For a model that is not of a known family.
    progress : bool
        Show how many restored states are done, and the time left, on standard error.

    Returns
    -------
    Trace
        Gains and recoveries: 1 where the answer is as in the clean run, 0 as in the corrupted one; they may leave
        [0, 1].

    Raises
    ------
    ValueError
        Different tokens in the corrupted batch, unknown targets, a window out of range, a batch without image tokens.
    TypeError
        A corruption that is neither a mapping nor :class:`vlm.Noise`.

    See Also
    --------
    vlm.consequences : Error of plans, beside what the recursions predict.

    References
    ----------
    Meng et al. (2022), *Locating and Editing Factual Associations in GPT*, arXiv:2202.05262.

    Examples
    --------
    >>> import vlm
    >>> from vlm import tiny
    >>> model, processor = vlm.load("tiny")
    >>> asked = tiny.questions(limit=2, kinds=("location", "count"))
    >>> images, prompts = [q.image for q in asked], [q.prompt for q in asked]
    >>> batch = processor(images=images, text=prompts, return_tensors="pt", padding=True)
    >>> blank = processor(images=[tiny.blank_image()] * 2, text=prompts, return_tensors="pt", padding=True)
    >>> result = vlm.trace(model, batch, blank, targets=("vision", "last"))
    >>> table = result.table(groups=[q.image_id for q in asked])
    >>> table.where(target="vision")["recovery"].round(2)
    array([ 1.  ,  0.28,  0.54,  0.63,  0.68,  0.69,  0.68, -0.08, -0.06,
           -0.07,  0.  ])
    >>> table.where(target="last")["recovery"].round(2)
    array([ 0.  , -0.36,  0.2 , -0.28, -0.36, -0.62, -0.78, -1.03, -0.52,
            0.85,  1.  ])
    """
    targets = tuple(targets)
    if not targets or not set(targets) <= set(TARGETS):
        raise ValueError(f"targets: expected one or more of {', '.join(TARGETS)}, got {targets}")
    with attached(model, family) as engine:
        depth = engine.parts.depth
        if not 1 <= window <= depth + 1:
            raise ValueError(f"window: expected a number of states in 1..{depth + 1}, got {window}")
        corruptions, other = _corruptions(batch, corruption)
        clean = _clean_run(engine, batch)
        each = [_logits(engine, other, corrupt) for corrupt in corruptions]
        answer = _ids(answers, clean.logits.argmax(dim=-1), "answers", clean.logits)
        likely = torch.stack([logits.softmax(dim=-1) for logits in each]).mean(dim=0)
        best_other = likely.scatter(1, answer[:, None], -torch.inf).argmax(dim=-1)
        foil = _ids(foils, best_other, "foils", clean.logits)

        def restored(target: Target, first: int) -> FloatArray:
            states = range(first, first + window)
            runs = [
                _followed(_logits(engine, other, _restoring(clean, corrupt, target, states)), answer, foil)
                for corrupt in corruptions
            ]
            return np.asarray(np.mean(runs, axis=0))

        cells = [(target, first) for target in targets for first in range(depth + 1)]
        told = by_count(cells, len(cells), "restored states", shown=progress)
        columns = np.stack([restored(target, first) for target, first in told], axis=1)
        runs = np.split(columns, len(targets), axis=1)
        draws = np.stack([_followed(logits, answer, foil) for logits in each], axis=1)
    return Trace(
        targets=targets,
        window=window,
        answers=answer.cpu().numpy(),
        foils=foil.cpu().numpy(),
        clean=_followed(clean.logits, answer, foil),
        corrupted=draws.mean(axis=1),
        restored=np.stack(runs, axis=1),
        draws=draws,
    )


@dataclass(frozen=True, eq=False)
class _CleanRun:
    """States 0..L (batch, tokens, width), the tokens of each target (batch, tokens), and the last logits."""

    states: list[Tensor]
    tokens: dict[Target, Tensor]
    logits: Tensor


def _clean_run(engine: Engine, batch: Mapping[str, Tensor]) -> _CleanRun:
    states: list[Tensor] = []
    tokens: dict[Target, Tensor] = {}

    def keep(call: Call, state: int, value: Tensor) -> Tensor:
        states.append(value)
        last = torch.zeros_like(call.real).scatter_(1, last_tokens(call.real)[:, None], True)
        tokens.update({"vision": call.vision, "text": call.text, "last": last})
        return value

    logits = _logits(engine, batch, keep)
    if not tokens["vision"].any():
        raise ValueError("batch: expected prompts with an image, got none; there is nothing to corrupt")
    return _CleanRun(states, tokens, logits)


def _restoring(clean: _CleanRun, corrupt: StateRewriter, target: Target, states: range) -> StateRewriter:
    """Corrupts the states, then puts the clean values of one target back into the given states."""

    def restore(call: Call, state: int, value: Tensor) -> Tensor:
        value = corrupt(call, state, value)
        if state in states:
            here = value.device  # the layers of one model may be on different devices
            value = torch.where(clean.tokens[target].unsqueeze(-1).to(here), clean.states[state].to(here), value)
        return value

    return restore


def _logits(engine: Engine, batch: Mapping[str, Tensor], rewrite: StateRewriter) -> Tensor:
    """(batch, vocabulary) logits of the last prompt token in a run whose states are rewritten."""
    with engine.rewrite_states(rewrite):
        return last_logits(engine.parts.model, batch)


def _corruptions(
    batch: Mapping[str, Tensor], corruption: Mapping[str, Tensor] | Noise
) -> tuple[list[StateRewriter], Mapping[str, Tensor]]:
    """How each corrupted run rewrites its states, and which batch they run on."""
    if isinstance(corruption, Noise):
        seeds = np.random.SeedSequence(corruption.seed).generate_state(corruption.draws, np.uint64)
        return [_adding(corruption, int(seed) >> 1) for seed in seeds], batch
    if not isinstance(corruption, Mapping):
        raise TypeError(
            f"corruption: expected a mapping of forward arguments or Noise(), got {type(corruption).__name__}"
        )
    other = {**batch, **corruption}
    for name in ("input_ids", "attention_mask"):
        if name in batch and not torch.equal(batch[name], other[name]):
            raise ValueError(f"corruption: expected the same {name} as in the clean batch; change the image only")
    return [lambda call, state, value: value], other


def _adding(corruption: Noise, seed: int) -> StateRewriter:
    """One draw of the noise on state 0, the same for every sample's first, second, ... image token."""

    def add_noise(call: Call, state: int, value: Tensor) -> Tensor:
        if state or not call.vision.any():
            return value
        out = value.clone()
        for row, shown in enumerate(call.vision.to(value.device)):
            if bool(shown.any()):
                tokens = value[row, shown]
                generator = torch.Generator().manual_seed(seed)
                noise = torch.randn(tokens.shape, generator=generator).to(tokens)
                unit = tokens.float().std().to(tokens) if corruption.deviation is None else corruption.deviation
                out[row, shown] = tokens + corruption.scale * unit * noise
        return out

    return add_noise


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
    """(samples, 2): probability of the answer, and logit of the answer minus logit of the foil."""
    picked = logits.gather(1, torch.stack([answer, foil], dim=1))
    probability = torch.softmax(logits, dim=-1).gather(1, answer[:, None])[:, 0]
    return torch.stack([probability, picked[:, 0] - picked[:, 1]], dim=1).cpu().numpy()
