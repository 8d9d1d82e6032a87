"""Digests that name what was asked, so that results of changed data are never taken for results of the old."""

from __future__ import annotations

import hashlib
import json

from vlm.datasets.row_readers import Row
from vlm.item import Item

_DIGITS = 16


def item_digest(item: Item, pictures: str = "") -> str:
    """Digest of everything that an answer or its score may depend on; `pictures` is that of the stored pictures.

    Examples
    --------
    >>> from vlm.datasets.content_digests import item_digest
    >>> item = Item("gqa", "0", "a", "What colour is the sky?", images=(), answers=("blue",))
    >>> item_digest(item) == item_digest(item, "0123")
    False
    """
    texts = [item.question, list(item.options), list(item.answers), item.image_id, item.kind, pictures]
    return _hashed([*texts, sorted(item.details.items())])


def row_digest(row: Row) -> str:
    """Digest of a row that may not be an item: of its texts, numbers and bytes."""
    return _hashed([[str(name), row[name]] for name in sorted(row, key=str)])


def _hashed(content: object) -> str:
    # A surrogate that a broken file left in a text is data too.
    text = json.dumps(content, default=_named).encode()
    return hashlib.sha256(text).hexdigest()[:_DIGITS]


def _named(value: object) -> str:
    """What JSON cannot hold; never `repr`, which may name an address in memory."""
    return hashlib.sha256(value).hexdigest() if isinstance(value, bytes) else type(value).__name__
