"""`vlm.profile_states`: all notions of recorded hidden states, view by view and pair by pair."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any, Protocol, Unpack

import numpy as np
from numpy.typing import NDArray

from redundancy.array_types import FloatArray
from vlm.notions.chain_check import Checked
from vlm.notions.choices import Choices, ProfileOptions, choices, layer_pairs
from vlm.notions.measures import Confidence, Measure
from vlm.notions.profile_result import Place, Profile, chain_table, profile_table
from vlm.notions.targets import RowTarget, Targets, row_target
from vlm.notions.view_profile import ViewProfile, fitting_rows
from vlm.table import Table


class HiddenStates(Protocol):
    """Recorded states: what :func:`vlm.states` yields, or what was read back from disk."""

    @property
    def layers(self) -> tuple[int, ...]:
        """The recorded states, of 0..L."""

    @property
    def views(self) -> Sequence[object]:
        """The recorded views."""

    def layer(self, layer: int, view: str) -> NDArray[np.floating[Any]]:
        """States (rows, d) of a layer."""

    def groups(self, view: str) -> NDArray[np.str_]:
        """Image of each row."""

    def index(self, view: str) -> Table:
        """Item and answer of each row."""


def profile_states(states: HiddenStates, *, target: Targets = "answer", **options: Unpack[ProfileOptions]) -> Profile:
    """Measure all notions on hidden states that were recorded, without a model.

    Parameters
    ----------
    states : StatesRecord, or states read back from disk
        At least two layers, on at least two images.
    target : "answer" or mapping
        As for :func:`vlm.profile`; instead of a sequence, a mapping from item id to value.
    **options
        As for :func:`vlm.profile`.

    Returns
    -------
    Profile

    Raises
    ------
    ValueError
        Fewer than two layers or images, or an option out of its range. What only some rows cannot have makes a row
        that says so.

    See Also
    --------
    vlm.profile : Runs the model too.
    vlm.states : Records the states.

    References
    ----------
    Hartman et al. 2025, "Skip-It? Theoretical Conditions for Layer Skipping in Vision-Language Models",
    arXiv:2509.25584; Theory, sections 3 to 9 (docs/explanation/theory).

    Examples
    --------
    >>> import numpy as np
    >>> import vlm
    >>> from vlm import tiny
    >>> model, processor = vlm.load("tiny")
    >>> asked = tiny.questions(limit=60, kinds=("existence",))
    >>> images, prompts = [q.image for q in asked], [q.prompt for q in asked]
    >>> batch = processor(images=images, text=prompts, return_tensors="pt", padding=True)
    >>> with vlm.states(model, views="last", layers=(0, 4, 10)) as states:
    ...     states.expect(range(60), groups=[q.image_id for q in asked], answers=[q.answer for q in asked])
    ...     _ = model(**batch)
    >>> notions = ("geometric", "usable information")
    >>> profile = vlm.profile_states(states, notions=notions, readers="linear", progress=False)
    >>> profile
    Profile(2 pairs of layers, views last, 60 images, 5 rows)
    >>> profile.rows(notion="usable information")["value"].round(1).tolist()
    [0.0, 0.5, 0.5]
    """
    chosen = choices(options)
    pairs = layer_pairs(chosen.pairs, states.layers)
    views = [str(view) for view in states.views]
    layers = sorted({layer for pair in pairs for layer in pair})
    together = chosen.simultaneous or len(pairs)
    confidence = Confidence(chosen.confidence, together)
    of_layers = Confidence(chosen.confidence, chosen.simultaneous or len(layers))
    rows: list[tuple[Place, Measure]] = []
    theorems: list[tuple[Place, Checked]] = []
    notes: list[str] = []
    steps = _steps(views, pairs, progress=options.get("progress", True))
    current: ViewProfile | None = None
    seen: set[tuple[str, int]] = set()
    where = ""
    for view, (earlier, later) in steps:
        if current is None or view != where:
            current, where = _view(states, view, target, chosen, confidence, of_layers), view
            notes += [note for note in _notes(current) if note not in notes]
        measures, checked = current.pair(earlier, later)
        place = Place(earlier, later, view)
        rows += [(place, measure) for measure in measures]
        theorems += [(place, check) for check in checked]
        for layer in (earlier, later):
            if (view, layer) not in seen:
                seen.add((view, layer))
                rows += [(Place(layer, layer, view), measure) for measure in current.layer(layer)]
    settings = {
        **chosen.settings(),
        "pairs": tuple(pairs),
        "views": tuple(views),
        "simultaneous": together,
        "target": target if isinstance(target, str) else "given",
    }
    return Profile(profile_table(rows), chain_table(theorems), settings, tuple(notes))


def _view(
    states: HiddenStates,
    view: str,
    target: Targets,
    chosen: Choices,
    confidence: Confidence,
    of_layers: Confidence,
) -> ViewProfile:
    index, groups = states.index(view), states.groups(view)
    fit = fitting_rows(groups, chosen.fit_share, chosen.seed)
    wanted: RowTarget | str
    try:
        wanted = row_target(target, items=index["item"], answers=index["answer"], fit=fit, classes=chosen.classes)
    except ValueError as reason:
        wanted = str(reason)

    @lru_cache(maxsize=3)
    def layer(number: int) -> FloatArray:
        return np.asarray(states.layer(number, view), dtype=np.float64)

    return ViewProfile(layer, groups, fit, wanted, chosen, confidence, of_layers)


def _notes(view: ViewProfile) -> tuple[str, ...]:
    return (view.target,) if isinstance(view.target, str) else view.target.notes


def _steps(
    views: Sequence[str], pairs: Sequence[tuple[int, int]], *, progress: bool
) -> Sequence[tuple[str, tuple[int, int]]]:
    """Views and pairs in order, behind a progress bar that says how long the rest will take."""
    from tqdm import tqdm

    steps = [(view, pair) for view in views for pair in pairs]
    shown: Sequence[tuple[str, tuple[int, int]]] = tqdm(steps, desc="notions", disable=None if progress else True)
    return shown
