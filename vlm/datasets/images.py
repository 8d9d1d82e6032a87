"""Images as data sets store them, decoded item by item so that a broken image fails one item only."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from PIL import Image


def rgb_image(stored: object, folder: Path | None = None) -> Image.Image:
    """Decode an image to RGB, turned upright by its EXIF orientation.

    Parameters
    ----------
    stored : mapping with "bytes" or "path", bytes, path or PIL image
        The content of a cell; the hub stores ``{"bytes": ..., "path": ...}``.
    folder : Path, optional
        Folder that a relative path starts from.

    Returns
    -------
    PIL.Image.Image

    Raises
    ------
    ValueError
        No image, no such file, or bytes that no decoder reads.

    Examples
    --------
    >>> from PIL import Image
    >>> rgb_image(Image.new("L", (3, 2))).mode
    'RGB'
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
    except UnidentifiedImageError as error:  # its message names an address in memory
        raise ValueError("image: expected a readable image, got bytes of no known format") from error
    except Exception as error:  # a decoder may raise anything on hostile bytes: SyntaxError, struct.error, ...
        raise ValueError(f"image: expected a readable image, got {type(error).__name__}: {error}") from error


def encoded(stored: object, folder: Path | None = None) -> bytes:
    """The bytes of an image file; the arguments are those of :func:`rgb_image`."""
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


def content_id(stored: Iterable[object], folder: Path | None = None) -> str:
    """A digest of 16 hexadecimal digits of the images' content, the same for all questions about one image."""
    digest = hashlib.sha256()
    for image in stored:
        data = image.tobytes() if hasattr(image, "tobytes") else encoded(image, folder)
        digest.update(len(data).to_bytes(8, "little") + data)
    return digest.hexdigest()[:16]
