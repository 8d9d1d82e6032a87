"""`vlm.profile`: run a model on items once, then measure all notions of its hidden states."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Unpack

import torch

from vlm.evaluation.answering import Answerer, PreparedQuestion, Unusable, alike
from vlm.evaluation.batch_failures import Refused, TooLarge, in_halves, one_by_one
from vlm.evaluation.protocols import PROTOCOLS
from vlm.hidden_states.recording import states
from vlm.hidden_states.state_record import StatesRecord
from vlm.hidden_states.views import Views
from vlm.item import Item
from vlm.models.types import Model, Processor
from vlm.notions.choices import ProfileOptions, choices
from vlm.notions.profile_result import Profile
from vlm.notions.profiling import profile_states
from vlm.notions.targets import by_item


def profile(
    model: Model,
    processor: Processor,
    items: Sequence[Item],
    *,
    target: str | Sequence[object] = "answer",
    views: Views = ("last", "vision-mean"),
    layers: Sequence[int] | None = None,
    batch_size: int = 8,
    **options: Unpack[ProfileOptions],
) -> Profile:
    """Measure what the layers of a model share, in all four notions and their neighbours.

    Every prompt runs once; then the estimators run on the host, view by view and pair by pair.

    Parameters
    ----------
    model, processor
        As :func:`vlm.load` returns them.
    items : sequence of Item
        Questions with images, such as ``list(vlm.datasets.read("tiny", limit=600))``. Items without an image count in
        the views that they have.
    target : "answer" or sequence
        What a layer is good for: each item's first reference answer, or one value per item, a class (text, integer,
        boolean) or a float.
    views : str or sequence of str
        Which vector stands for a layer on one prompt, as for :func:`vlm.states`.
    layers : sequence of int, optional
        States to record; all by default.
    batch_size : int
        Items per forward call.
    **options
        Keyword options, shared with :func:`vlm.profile_states`:

        notions : sequence of str, optional
            Of "geometric", "proximal", "functional", "next state", "informational", "mutual information", "usable
            information", "pid", "similarity", "effective rank"; all by default.
        pairs : "adjacent", "entry" or sequence of (int, int)
            Each state with the next one (default), the first one with every other, or pairs of your own.
        t : float
            Cosine distance up to which two states are close; default 0.05.
        codes, radius : int, float
            Codewords of each pair of layers (default 16), and the cosine distance up to which two codewords are close
            (default: half the smallest distance between two of them).
        predictors : sequence of "ridge", "panel"
            What predicts the target; the panel is the default of `redundancy.functional`, and most of the time.
        readers : sequence of "linear", "network"
            Families of usable information.
        classes, target_range : int, (float, float)
            Most classes of the target (default 32); the range of a target of floats, without which nothing about it is
            certified.
        folds : int
            Cross-fitting folds. Default 2: limits join one interval per fold, so that fewer folds are narrower.
        fit_share : float
            Share of the images that fix codebooks and thresholds; the others are encoded. Default 0.5.
        replicates : int
            Bootstrap replicates of a PID; default 40.
        confidence, simultaneous : float, int
            Confidence, default 0.95, of `simultaneous` intervals of one notion, method and view together; by default
            of all layers or pairs of them.
        rng : Generator, int or None
            Of every random choice; default 0.
        progress : bool
            Whether to show how long the rest takes; default True.

    Returns
    -------
    Profile
        `table` and `chain`, tidy; `notes` says what was left out.

    Raises
    ------
    ValueError
        No usable item, fewer than two images, an option out of its range. What only some rows cannot have makes a row
        that says so.

    See Also
    --------
    vlm.profile_states : The same from recorded states.
    vlm.states, vlm.moments : The measurements.
    vlm.decide : From distances and attention to a plan.

    References
    ----------
    *Skip-It? Theoretical Conditions for Layer Skipping in Vision-Language Models* (2025), arXiv:2509.25584.

    Examples
    --------
    How far do states move, and what does the answer's reader gain?

    >>> import vlm
    >>> model, processor = vlm.load("tiny")
    >>> items = list(vlm.datasets.read("tiny", limit=200))
    >>> notions = ("geometric", "functional")
    >>> profile = vlm.profile(
    ...     model, processor, items, views="last", layers=(4, 7, 10), notions=notions, predictors="ridge"
    ... )
    >>> profile
    Profile(2 pairs of layers, views last, 40 images, 8 rows)
    >>> print(profile.shown(digits=2, method="ridge: Brier score")["value"][1])
    -0.15 [-0.64, 0.36]
    """
    choices(options)  # refuse a wrong option before the model runs
    if not items:
        raise ValueError("items: expected at least one item, got none")
    keys = item_keys(items)
    wanted = by_item(target, keys)
    with torch.inference_mode(), states(model, views=views, layers=layers) as record:
        progress = options.get("progress", True)
        refused = run_prompts(model, processor, items, record, batch_size=batch_size, progress=progress)
    if len(refused) == len(items):
        raise ValueError(f"items: none of the {len(items)} could be put to the model; the first: {refused[0]}")
    result = profile_states(record, target=wanted, **options)
    settings = {**result.settings, "target": target if isinstance(target, str) else "given", "items": len(items)}
    notes = tuple(f"item {line}" for line in refused)
    return replace(result, settings=settings, notes=notes + result.notes)


def item_keys(items: Sequence[Item]) -> list[str]:
    """The id of each item among all data sets.

    Raises
    ------
    ValueError
        The same item twice.
    """
    keys = [f"{item.dataset}/{item.id}" for item in items]
    twice = [key for key in keys if keys.count(key) > 1] if len(set(keys)) < len(keys) else []
    if twice:
        raise ValueError(f"items: expected each item once, got {twice[0]} {keys.count(twice[0])} times")
    return keys


def run_prompts(
    model: Model,
    processor: Processor,
    items: Sequence[Item],
    record: StatesRecord,
    *,
    batch_size: int,
    progress: bool,
) -> list[str]:
    """Run every prompt once under a record that is open; the items that could not be, with the reason."""
    from tqdm import tqdm

    answerer = Answerer(model, processor, PROTOCOLS["skip-it"])
    refused: list[str] = []

    def forward(questions: Sequence[PreparedQuestion], attempt: int) -> list[None]:
        asked = [question.item for question in questions]
        record.expect(
            item_keys(asked),
            groups=[f"{item.dataset}/{item.image_id}" for item in asked],
            tasks=[item.dataset for item in asked],
            answers=[item.answers[0] if item.answers else "" for item in asked],
        )
        model(**answerer.inputs(questions), logits_to_keep=1)
        return [None] * len(asked)

    starts = tqdm(range(0, len(items), batch_size), desc="states", disable=None if progress else True)
    for start in starts:
        questions = answerer.questions(items[start : start + batch_size])
        for item, question in zip(items[start : start + batch_size], questions, strict=True):
            if isinstance(question, Unusable):
                refused.append(f"{item.dataset}/{item.id}: {question.reason}")
        for group in alike([q for q in questions if isinstance(q, PreparedQuestion)]):
            for question, result in zip(group, in_halves(partial(one_by_one, forward), group), strict=True):
                if isinstance(result, (TooLarge, Refused)):
                    refused.append(f"{question.item.dataset}/{question.item.id}: {result.reason}")
    return refused
