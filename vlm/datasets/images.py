"""Pictures as data sets store them, decoded here so that a broken one is the failure of one item."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from PIL import Image


def picture(stored: Any, folder: Path | None = None) -> Image.Image:
    """An RGB image, turned as its EXIF orientation says.

    Parameters
    ----------
    stored : mapping with "bytes" or "path", bytes, path or PIL image
        What a cell holds; the hub stores ``{"bytes": ..., "path": ...}``.
    folder : Path, optional
        What a relative path is relative to.

    Raises
    ------
    ValueError
        No image, no such file, or bytes that no decoder reads.
    """
    from PIL import Image, ImageOps, UnidentifiedImageError

    if isinstance(stored, Image.Image):
        return stored.convert("RGB")
    try:
        with Image.open(io.BytesIO(encoded(stored, folder))) as opened:
            upright = ImageOps.exif_transpose(opened)
            return (opened if upright is None else upright).convert("RGB")
    except ValueError:
        raise
    except UnidentifiedImageError as error:  # its own words name an address in memory
        raise ValueError("image: expected a readable image, got bytes of no known format") from error
    except Exception as error:  # a decoder may raise anything on hostile bytes: SyntaxError, struct.error, ...
        raise ValueError(f"image: expected a readable image, got {type(error).__name__}: {error}") from error


def encoded(stored: Any, folder: Path | None = None) -> bytes:
    """The bytes of an image file; see :func:`picture`."""
    if isinstance(stored, Mapping):
        stored = stored.get("bytes") or stored.get("path")
    if isinstance(stored, bytes) and stored:
        return stored
    if isinstance(stored, str | Path) and str(stored):
        path = Path(stored) if folder is None else folder / stored
        if not path.is_file():
            raise ValueError(f"image: expected a file, got {str(stored)!r}, which does not exist")
        return path.read_bytes()
    raise ValueError("image: expected an image, got none")


def content_id(stored: Iterable[Any], folder: Path | None = None) -> str:
    """16 hexadecimal digits that name these images by content: questions about one image share it."""
    digest = hashlib.sha256()
    for image in stored:
        data = image.tobytes() if hasattr(image, "tobytes") else encoded(image, folder)
        digest.update(len(data).to_bytes(8, "little") + data)
    return digest.hexdigest()[:16]
