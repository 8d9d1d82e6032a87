"""Views: which vectors stand for a layer on one prompt."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias, get_args

import numpy as np

from redundancy.array_types import IntArray
from redundancy.display import Displayed

Which = Literal["last", "mean", "sample", "all"]
Modality = Literal["vision", "text"]
MODALITIES: tuple[Modality, ...] = get_args(Modality)
_TEXT_FORM = re.compile(r"(?P<modality>vision|text)-(?:(?P<which>mean|all)|sample\((?P<size>[1-9]\d{0,5})\))", re.ASCII)
_FORMS = "last, vision-mean, text-mean, vision-sample(8), text-sample(8), vision-all or text-all"
# SplitMix64 (Steele, Lea and Flood 2014), as signed 64-bit numbers, which is how torch multiplies them.
GOLDEN, MIX_1, MIX_2 = -0x61C8864680B583EB, -0x40A7B892E31B1A47, -0x6B2FB644ECCEEE15
SHIFTS = (30, 27, 31)


@dataclass(frozen=True, repr=False)
class View(Displayed):
    """Which vectors stand for a layer on one prompt.

    Attributes
    ----------
    which : {"last", "mean", "sample", "all"}
        The last prompt token (which predicts the answer), the mean over the tokens of a modality, a sample of them, or
        all of them.
    modality : {"vision", "text"} or None
        None for "last".
    size : int or None
        Tokens per prompt of a sample. A prompt with fewer such tokens gives all that it has.

    Raises
    ------
    ValueError
        A combination that has no meaning.

    Notes
    -----
    The text forms are ``last``, ``vision-mean``, ``text-mean``, ``vision-sample(k)``, ``text-sample(k)``,
    ``vision-all`` and ``text-all``. A sample is drawn without replacement by a hash of the item's id: it is the same
    in every layer, model, batch and run. Text means every token that is neither image nor padding.

    Examples
    --------
    >>> from vlm.hidden_states.views import View
    >>> View.parse("vision-sample(8)")
    View(vision-sample(8))
    >>> str(View("mean", "text"))
    'text-mean'
    """

    which: Which
    modality: Modality | None = None
    size: int | None = None

    def __post_init__(self) -> None:
        known = self.which in get_args(Which) and (self.modality is None or self.modality in MODALITIES)
        if (
            not known
            or (self.which == "last") != (self.modality is None)
            or (self.which == "sample") != (self.size is not None)
            or (self.size is not None and self.size < 1)
        ):
            raise ValueError(
                f"view: expected {_FORMS}, got which={self.which!r}, modality={self.modality!r}, size={self.size!r}"
            )

    def __str__(self) -> str:
        size = "" if self.size is None else f"({self.size})"
        return f"{self.which}" if self.modality is None else f"{self.modality}-{self.which}{size}"

    def __repr__(self) -> str:
        return f"View({self})"

    @classmethod
    def parse(cls, text: str | View) -> View:
        """The view with this text form; a view passes through.

        Raises
        ------
        ValueError
            No such form.
        """
        if isinstance(text, View):
            return text
        match = _TEXT_FORM.fullmatch(text) if isinstance(text, str) else None
        if text == "last":
            return cls("last")
        if match is None:
            raise ValueError(f"view: expected {_FORMS}, got {text!r}")
        modality = MODALITIES[0] if match["modality"] == "vision" else MODALITIES[1]
        if match["size"]:
            return cls("sample", modality, int(match["size"]))
        return cls("mean" if match["which"] == "mean" else "all", modality)


Views: TypeAlias = str | View | Sequence[str | View]


def parse_views(views: Views) -> tuple[View, ...]:
    """Views in the order given; a ValueError for none, or for one that comes twice."""
    parsed = tuple(View.parse(view) for view in ([views] if isinstance(views, (str, View)) else views))
    twice = sorted({str(view) for view in parsed if parsed.count(view) > 1})
    if not parsed or twice:
        raise ValueError(f"views: expected each view once, got {f'{twice[0]} twice' if twice else 'none'}")
    return parsed


def sample_seed(item: str, modality: Modality) -> int:
    """Seed (a signed 64-bit number) of an item's token sample: a hash of its id and of the modality."""
    digest = hashlib.sha256(f"{modality}\0{item}".encode()).digest()
    return int.from_bytes(digest[:8], "little", signed=True)


def sampled_tokens(item: str, modality: Modality, tokens: int, size: int) -> IntArray:
    """Which tokens a sample view takes of a prompt: the `size` smallest hash values, in order of the tokens.

    Parameters
    ----------
    item : str
        The item's id.
    modality : {"vision", "text"}
        Whose tokens.
    tokens : int
        Number of tokens of the modality in the prompt.
    size : int
        Size of the sample.

    Returns
    -------
    ndarray of int (min(size, tokens),)
        Their ordinals within the modality, rising.

    Examples
    --------
    >>> from vlm.hidden_states.views import sampled_tokens
    >>> sampled_tokens("gqa-17", "vision", tokens=576, size=4)
    array([ 12, 167, 185, 566])
    """
    mask, number = (1 << 64) - 1, sample_seed(item, modality)
    keys = []
    for token in range(tokens):
        z = (number + (token + 1) * GOLDEN) & mask
        for shift, factor in zip(SHIFTS, (MIX_1, MIX_2, 1), strict=True):
            z = ((z ^ (z >> shift)) * factor) & mask
        keys.append(z >> 1)
    order = sorted(range(tokens), key=keys.__getitem__)
    return np.array(sorted(order[:size]), dtype=np.int64)
