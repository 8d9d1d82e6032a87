"""Accumulate sufficient statistics of all tokens while a model runs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Literal

import torch

from redundancy import checks
from vlm.engine.hooks import attached
from vlm.hidden_states.moment_accumulator import Geometry
from vlm.hidden_states.moment_calls import MODALITIES, Modality
from vlm.hidden_states.moment_recorder import MomentsRecord
from vlm.hidden_states.moment_result import Moments
from vlm.hidden_states.moment_store import MomentSettings, Pair
from vlm.models.families import Family
from vlm.models.fingerprint import loaded_identity
from vlm.models.types import Arguments, Model

Pairs = Literal["adjacent", "entry"] | Sequence[Pair]
Precision = Literal["float64", "float32"]


@contextmanager
def moments(
    model: Model,
    *,
    pairs: Pairs = "adjacent",
    modality: Literal["vision", "text", "both"] = "both",
    folds: int = 2,
    project: int | None = None,
    normalise: bool = False,
    precision: Precision = "float64",
    pilot: Moments | None = None,
    seed: int = 0,
    largest_gib: float = 16.0,
    family: Family | None = None,
) -> Iterator[MomentsRecord]:
    r"""Accumulate sufficient statistics of all tokens' states while the model runs; no state is stored.

    Only prompts are recorded: cached decoding steps add nothing, padding is never counted. Every prompt counts the same
    and is averaged over its tokens. Under a plan, the states are those of the model that skips. Say with
    ``sums.expect(groups)`` before each forward which image its rows are about, if some image has several prompts.

    Parameters
    ----------
    model : PreTrainedModel
        A vision-language model of a known family, on one device or on several.
    pairs : "adjacent", "entry" or sequence of (int, int)
        States l < m that are compared: each with the next, state 0 with each, or those listed.
    modality : {"vision", "text", "both"}
        Which tokens.
    folds : int
        Folds of images for cross-fitting, at least 2. An image's fold is given by a hash of its label, or without
        labels by the prompt's number, so that tokens of one image are never on both sides.
    project : int, optional
        Project the input side of every map onto this many fixed random directions. What is reconstructed stays whole,
        so that errors are still those of a map from state to state, and bound mmse(Y | X) from above.
    normalise : bool
        Divide every state by its norm. Then the identity's error is twice the mean cosine distance, and the losses of
        :func:`vlm.reconstruction_losses` are bounded.
    precision : {"float64", "float32"}
        Of the products within one prompt; sums over prompts are always in twice float64. "float32" is up to twice as
        fast on a CPU and costs about 1e-6 of the variance.
    pilot : Moments, optional
        Take the shift of every state from this recording, so that merging is exact; by default the mean of the first
        prompt, rounded to eight bits.
    seed : int
        Determines the projection.
    largest_gib : float
        Refuse to begin if the sums would need more memory than this, in GiB.
    family : Family, optional
        For a model that is not of a known family.

    Yields
    ------
    MomentsRecord
        ``sums.table()`` after one or more forward calls; ``sums.moments()`` for single numbers, merging and saving.

    Raises
    ------
    ValueError, TypeError
        Pairs outside 0 <= l < m <= L, fewer than two folds, a projection as wide as the states, sums that are too
        large, float32 on a GPU that rounds products to TensorFloat-32; a model that is not a vision-language model of
        a known family.

    See Also
    --------
    vlm.probe : Distances alone, at less cost.
    vlm.reconstruction_losses : Losses of the fitted maps on other images, which `bounds.certify` takes.
    bounds.functional_from_reconstruction : What a reconstruction error implies.

    Notes
    -----
    For every map h, E|Y - h(X)|^2 is at least mmse(Y | X), so that by Corollary 5 of (3.2) L^2 times it bounds the
    functional gap. With W fitted on the other folds, fold k gives tr S_yy - 2 tr W^T S_xy + tr W^T S_xx W, exactly.

    Multiply-adds per token and layer, for states of width d: 2 d^2 for adjacent pairs; with a projection to k columns
    4 k d + 2 k^2, beside about 12 d^2 to 15 d^2 of the model's own layer (4% for k = 512 and d = 4096).

    States are shifted by the pilot before they are multiplied, and each prompt's products are added with their rounding
    error kept, so that the sums are the same, bit for bit, in whatever order prompts come.

    References
    ----------
    Kornblith, Norouzi, Lee, Hinton 2019, "Similarity of Neural Network Representations Revisited", arXiv 1905.00414.

    Examples
    --------
    >>> import vlm
    >>> from vlm import tiny
    >>> model, processor = vlm.load("tiny")
    >>> asked = tiny.questions(limit=60, kinds=("location",))
    >>> images, prompts = [q.image for q in asked], [q.prompt for q in asked]
    >>> batch = processor(images=images, text=prompts, return_tensors="pt", padding=True)
    >>> with vlm.moments(model, modality="vision", normalise=True) as sums:
    ...     sums.expect([q.image_id for q in asked])
    ...     _ = model(**batch)
    >>> table = sums.table()
    >>> table["identity"].round(3)
    array([0.098, 0.116, 0.299, 0.143, 0.125, 0.117, 0.064, 0.024, 0.03 ,
           0.353])
    >>> table["reconstruction"].round(3)
    array([0.023, 0.028, 0.175, 0.058, 0.066, 0.032, 0.022, 0.006, 0.006,
           0.057])
    """
    checks.one_of(precision, ("float64", "float32"), name="precision")
    checks.one_of(modality, (*MODALITIES, "both"), name="modality")
    folds = checks.integer(folds, name="folds", least=2)
    if pilot is not None and not isinstance(pilot, Moments):
        raise TypeError(f"pilot: expected Moments (sums.moments() of another recording), got {type(pilot).__name__}")
    with attached(model, family) as engine:
        depth, width = engine.parts.depth, int(engine.parts.text_config.hidden_size)
        wanted: tuple[Modality, ...] = MODALITIES if modality == "both" else (modality,)
        settings = MomentSettings(
            model=loaded_identity(model),
            plan="none" if engine.plan is None else str(engine.plan),
            pairs=_pairs(pairs, depth),
            modalities=wanted,
            folds=folds,
            depth=depth,
            width=width,
            project=_projection(project, width),
            seed=checks.integer(seed, name="seed", least=0),
            normalise=bool(normalise),
            precision=precision,
        )
        if pilot is not None:
            pilot.check_pilot(settings)
        if precision == "float32" and torch.backends.cuda.matmul.allow_tf32 and _on_gpu(model):
            raise ValueError(
                "precision: expected float32 products, got TensorFloat-32, which keeps ten bits; set "
                "torch.backends.cuda.matmul.allow_tf32 = False, or precision='float64'"
            )
        record = MomentsRecord(settings, Geometry(folds, width, settings.basis(), getattr(torch, precision)), pilot)
        _check_size(record, largest_gib)

        def check(given: Arguments) -> None:
            now = "none" if engine.plan is None else str(engine.plan)
            if now != settings.plan:
                raise ValueError(
                    f"moments: expected the plan that was active when the recording began ({settings.plan}), got "
                    f"{now}; open vlm.moments inside vlm.skipping, once per plan"
                )
            record.check(given)

        with engine.check_calls(check), engine.watch_layers(record.observe, record.finish):
            yield record


def _pairs(pairs: Pairs, depth: int) -> tuple[Pair, ...]:
    if isinstance(pairs, str):
        if checks.one_of(pairs, ("adjacent", "entry"), name="pairs") == "adjacent":
            return tuple((layer, layer + 1) for layer in range(depth))
        return tuple((0, layer) for layer in range(1, depth + 1))
    try:
        listed = [(int(a), int(b)) for a, b in pairs]
    except (TypeError, ValueError):
        raise ValueError(f"pairs: expected 'adjacent', 'entry' or pairs of states (l, m), got {pairs!r}") from None
    if not listed or any(not 0 <= a < b <= depth for a, b in listed) or len(set(listed)) < len(listed):
        raise ValueError(f"pairs: expected different pairs of states 0 <= l < m <= {depth}, got {listed}")
    return tuple(sorted(listed))


def _projection(project: int | None, width: int) -> int | None:
    if project is None:
        return None
    k = checks.integer(project, name="project", least=1)
    if k >= width:
        raise ValueError(f"project: expected fewer columns than a state has ({width}), got {k}; leave it out")
    return k


def _on_gpu(model: Model) -> bool:
    return any(parameter.is_cuda for _, parameter in model.named_parameters())


def _check_size(record: MomentsRecord, largest_gib: float) -> None:
    gib, s = record.bytes / 2**30, record.settings
    if gib > largest_gib:
        narrow = min(512, s.width // 8)
        raise ValueError(
            f"moments: expected sums of at most {largest_gib:g} GiB, got {gib:.1f} GiB for {len(s.pairs)} pairs of "
            f"states of width {s.rank} x {s.width}; pass project={narrow}, one modality or fewer pairs, or raise "
            "largest_gib"
        )
