"""Images as data sets store them, decoded item by item so that a broken image fails one item only."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from PIL import Image

_ORIENTATION = 274  # EXIF's number
_LEAST_OF_16 = 4096  # below it 16 bits would hold a picture that is black to the eye
_SEEN = 48  # of 255: what differs less from its ground does not stand out


def rgb_image(stored: object, folder: Path | None = None) -> Image.Image:
    """Decode an image to RGB, upright by its EXIF orientation.

    Grey values of 16 bits are scaled to 8. A transparent picture stands on white, or on black or grey where most of it
    would vanish on white.

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
    >>> rgb_image(Image.new("I;16", (1, 1), 32768)).getpixel((0, 0))
    (128, 128, 128)
    """
    from PIL import Image, ImageOps, UnidentifiedImageError

    try:
        if isinstance(stored, Image.Image):
            return _rgb(ImageOps.exif_transpose(stored))
        with Image.open(io.BytesIO(encoded(stored, folder))) as opened:
            return _rgb(ImageOps.exif_transpose(opened))
    except ValueError:
        raise
    except UnidentifiedImageError as error:  # its message names an address in memory
        raise ValueError("image: expected a readable image, got bytes of no known format") from error
    except Exception as error:  # a decoder may raise anything on hostile bytes: SyntaxError, struct.error, ...
        raise ValueError(f"image: expected a readable image, got {type(error).__name__}: {error}") from error


def _rgb(image: Image.Image) -> Image.Image:
    """The colours that a viewer shows."""
    from PIL import Image

    if image.mode in ("I", "F") or image.mode.startswith("I;16"):
        return _eight_bits(image).convert("RGB")
    if image.mode == "La":
        image = image.convert("LA")
    if image.mode in ("RGBA", "LA", "PA", "RGBa", "La") or "transparency" in image.info:
        # The colour below a transparent pixel is arbitrary, often black: text on it would vanish.
        seen = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", seen.size, _ground(seen)), seen).convert("RGB")
    return image.convert("RGB")


def _ground(image: Image.Image) -> str:
    """White, unless most of what is drawn would vanish on it; then black or grey, where least vanishes."""
    import numpy as np

    values = np.asarray(image).astype(np.float64)
    opacity = values[..., 3]
    total = float(opacity.sum())
    if not total or bool((opacity > 0).all()):
        return "white"

    def lost(level: float) -> float:
        contrast = (np.abs(values[..., :3] - level).max(axis=-1)) * opacity / 255
        return float(opacity[contrast < _SEEN].sum()) / total

    grounds = {"black": 0.0, "grey": 128.0}
    return "white" if lost(255.0) <= 0.5 else min(grounds, key=lambda name: lost(grounds[name]))


def _eight_bits(image: Image.Image) -> Image.Image:
    """Grey of 16 or 32 bits, which `convert` would clip at 255, scaled by the range of its type.

    Integers stand for 0 to 65535, or in 32 bits for 0 to 255 where they are not larger; floating-point numbers for 0 to
    1 or, where they are larger, to 255. A ValueError where the values fit neither, or use so little of 16 bits that
    they must have fewer (12 are common), because then no scale is known.
    """
    import numpy as np
    from PIL import Image

    values = np.asarray(image, dtype=np.float64)
    largest = float(values.max(initial=0))
    wide = 1.0 if image.mode == "F" else 255.0 if image.mode == "I" else 65535.0
    top = wide if largest <= wide else 255.0 if image.mode == "F" else 65535.0
    if top == 65535 and 0 < largest < _LEAST_OF_16:
        raise ValueError(
            f"image: expected grey values up to 65535, got none above {largest:g}, which would be black; if they are "
            "of fewer bits, save them with 8 or scale them to 16"
        )
    if not np.isfinite(values).all() or values.min(initial=0) < 0 or values.max(initial=0) > top:
        raise ValueError(
            f"image: expected grey values from 0 to {top:g}, got {values.min(initial=0):g} to "
            f"{values.max(initial=0):g} in mode {image.mode}; save it with 8 or 16 bits per value"
        )
    return Image.fromarray(np.rint(values * (255 / top)).astype(np.uint8))


def encoded(stored: object, folder: Path | None = None) -> bytes:
    """The bytes of an image file; the arguments are those of :func:`rgb_image`."""
    if isinstance(stored, Mapping):
        stored = stored.get("bytes") or stored.get("path")
    if isinstance(stored, bytes) and stored:
        return stored
    if isinstance(stored, str | Path) and str(stored):
        name = str(stored)
        if "\0" in name:
            raise ValueError("image: expected the name of a file, got one with a NUL character")
        shown = repr(name if len(name) <= 100 else f"{name[:100]}...")
        try:
            path = Path(stored) if folder is None else folder / stored
            if path.is_file():
                return path.read_bytes()
        except OSError as error:  # a name too long, a file that may not be read
            raise ValueError(f"image: expected a file, got {shown}, which cannot be read: {error.strerror}") from error
        raise ValueError(f"image: expected a file, got {shown}, which does not exist")
    if stored is None or (isinstance(stored, bytes | str) and not stored):
        raise ValueError("image: expected an image, got none")
    raise ValueError(f"image: expected bytes of a file, its name or a PIL image, got {type(stored).__name__}")


def _beside(image: Any) -> str:
    """What beside its pixels decides how a PIL image looks: colours of a palette, transparency, orientation."""
    palette = image.getpalette() if getattr(image, "mode", "") in ("P", "PA") else None
    turned = image.getexif().get(_ORIENTATION) if hasattr(image, "getexif") else None
    clear = getattr(image, "info", {}).get("transparency")
    said = {"palette": palette, "orientation": turned, "transparency": clear}
    return "".join(f" {name} {value!r}" for name, value in said.items() if value is not None)


def content_id(stored: Iterable[object], folder: Path | None = None) -> str:
    """A digest of 16 hexadecimal digits of the images' content, the same for all questions about one image."""
    digest = hashlib.sha256()
    for image in stored:
        if hasattr(image, "tobytes"):  # a PIL image; two sizes may have the same bytes
            digest.update(f"{getattr(image, 'mode', '')} {getattr(image, 'size', '')}{_beside(image)}".encode())
        data = image.tobytes() if hasattr(image, "tobytes") else encoded(image, folder)
        digest.update(len(data).to_bytes(8, "little") + data)
    return digest.hexdigest()[:16]
