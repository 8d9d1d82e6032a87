"""Which fold a prompt belongs to: images are never split between folds, in whatever order and shard they come."""

from __future__ import annotations

import hashlib


def image_key(label: str) -> int:
    """A number of 63 bits that stands for an image: the first of the SHA-256 of its label."""
    return int.from_bytes(hashlib.sha256(label.encode()).digest()[:8], "big") >> 1


def fold_of(label: str | None, ordinal: int, folds: int) -> int:
    """Fold of a prompt: by the hash of its image's label, or by its number where every prompt is its own image."""
    return ordinal % folds if label is None else image_key(label) % folds
