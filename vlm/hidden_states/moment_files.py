"""Moments on disk: one safetensors file, written atomically, with the settings as JSON in its header."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from redundancy.array_types import FloatArray
from vlm.atomic_files import writing_bytes
from vlm.hidden_states.moment_calls import Modality
from vlm.hidden_states.moment_exact import ExactSum
from vlm.hidden_states.moment_store import MomentSettings, MomentStore, PairKey, StateKey, Sums

Arrays = dict[str, NDArray[Any]]
_HEADER = "skipit.moments"
_FORMAT = 1


def write_moments(path: str | Path, store: MomentStore) -> Path:
    """Write a store; an older file is kept if the disk is full."""
    from safetensors.numpy import save

    arrays: Arrays = {"prompts": store.prompts, "tokens": store.tokens, "left_out": store.left_out}
    for fold, keys in enumerate(store.images or ()):
        arrays[f"images/{fold}"] = keys
    for (modality, state), pilot in store.pilots.items():
        arrays[f"pilot/{modality}/{state}"] = pilot
    arrays |= {n: a for key, sums in store.states.items() for n, a in _named(key, sums)}
    arrays |= {n: a for key, sums in store.pairs.items() for n, a in _named(key, sums)}
    header = {"format": _FORMAT, "settings": asdict(store.settings), "images": store.images is not None}
    with writing_bytes(path) as file:
        file.write(save({n: np.ascontiguousarray(a) for n, a in arrays.items()}, {_HEADER: json.dumps(header)}))
    return Path(path)


def read_moments(path: str | Path) -> MomentStore:
    """Read a store.

    Raises
    ------
    FileNotFoundError, ValueError
        No such file; a file that is cut off, or not one of moments.
    """
    from safetensors import SafetensorError, safe_open

    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"path: no moments at {path}; expected a file written by Moments.save")
    try:
        with safe_open(path, framework="np") as file:
            header = json.loads((file.metadata() or {}).get(_HEADER, "{}"))
            arrays: Arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except SafetensorError as error:
        raise ValueError(
            f"path: {path} is cut off or not a safetensors file ({error}); save the moments again"
        ) from None
    if header.get("format") != _FORMAT:
        raise ValueError(f"path: expected moments written by Moments.save, got another safetensors file, {path}")
    stored = header["settings"]
    settings = MomentSettings(
        **{
            **stored,
            "pairs": tuple((int(a), int(b)) for a, b in stored["pairs"]),
            "modalities": tuple(stored["modalities"]),
        }
    )
    pilots: dict[tuple[Modality, int], FloatArray] = {}
    states: dict[StateKey, Sums] = {}
    pairs: dict[PairKey, Sums] = {}
    for modality in settings.modalities:
        pilots |= {(modality, s): arrays[n] for s in settings.states if (n := f"pilot/{modality}/{s}") in arrays}
        for fold in range(settings.folds):
            for state in settings.states:
                if sums := _sums((modality, fold, state), arrays):
                    states[modality, fold, state] = sums
            for pair in settings.pairs:
                if sums := _sums((modality, fold, pair), arrays):
                    pairs[modality, fold, pair] = sums
    images = tuple(arrays[f"images/{fold}"] for fold in range(settings.folds)) if header["images"] else None
    return MomentStore(settings, arrays["prompts"], arrays["tokens"], arrays["left_out"], images, pilots, states, pairs)


def _named(key: StateKey | PairKey, sums: Sums) -> Iterator[tuple[str, FloatArray]]:
    for place, part in enumerate(sums):
        yield f"{_name(key)}/{place}/high", part.high
        yield f"{_name(key)}/{place}/low", part.low


def _name(key: StateKey | PairKey) -> str:
    modality, fold, item = key
    return f"{modality}/{fold}/" + (f"state/{item}" if isinstance(item, int) else f"pair/{item[0]}-{item[1]}")


def _sums(key: StateKey | PairKey, arrays: Arrays) -> Sums:
    parts: list[ExactSum] = []
    while (name := f"{_name(key)}/{len(parts)}/high") in arrays:
        parts.append(ExactSum(arrays[name], arrays[name.removesuffix("high") + "low"]))
    return tuple(parts)
