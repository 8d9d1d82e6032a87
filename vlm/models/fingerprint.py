"""Which weights a model name stands for: branches move and folders are overwritten, so the name alone is not enough."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from vlm.models.loading import model_source
from vlm.models.transformers_internals import commit_of
from vlm.models.types import Model

# Bytes read of each checkpoint file, in evenly spaced pieces; smaller files are read whole.
_READ = 16 * 2**20
_PIECES = 64
_PARTS = (".json", ".safetensors", ".bin", ".jinja", ".model", ".txt")


def model_identity(name: str, revision: str | None = None) -> str:
    """Fingerprint of the weights that a model name stands for now.

    Parameters
    ----------
    name : str
        What :func:`vlm.load` takes.
    revision : str, optional
        Branch, tag or commit on the hub.

    Returns
    -------
    str
        "commit ..." for a hub id; for a folder "digest ...", a hash of names, sizes and contents of its
        configuration, tokenizer and weights. The hash reads 64 pieces of a file above 16 MiB: another training run
        changes them, a change of a few weights may not.

    Examples
    --------
    >>> model_identity("tiny")
    'digest 2ab74c45aab8'
    """
    source = model_source(name)
    if isinstance(source, Path):
        return f"digest {folder_digest(source)}"
    return f"commit {commit_of(model_config(name, revision)) or 'unknown'}"


def model_config(name: str, revision: str | None = None) -> Any:
    """The configuration that a model name stands for, as transformers reads it; errors in one line.

    Raises
    ------
    FileNotFoundError, ValueError
        No such folder, or a folder or hub id without a configuration that transformers knows.
    OSError
        The hub does not know the id, or cannot be reached.
    """
    from transformers import AutoConfig

    source = model_source(name)
    try:
        return AutoConfig.from_pretrained(source, revision=revision or "main", trust_remote_code=False)
    except (OSError, ValueError, KeyError) as error:
        reason = " ".join(str(error).split())
        kind: type[Exception] = OSError if isinstance(error, OSError) and not isinstance(source, Path) else ValueError
        raise kind(
            f"model: expected tiny, a folder or a hub id with a configuration, got {name!r}: {reason[:300]}"
        ) from None


def folder_digest(folder: Path) -> str:
    """The hash of a folder as twelve hexadecimal digits; see :func:`model_identity`."""
    digest = hashlib.sha256()
    for path in sorted(folder.iterdir()):
        if path.suffix in _PARTS and path.is_file():
            size = path.stat().st_size
            digest.update(f"{path.name}\0{size}\0".encode())
            with path.open("rb") as file:
                for start in (0,) if size <= _READ else (k * size // _PIECES for k in range(_PIECES)):
                    file.seek(start)
                    digest.update(file.read(_READ if size <= _READ else _READ // _PIECES))
    return digest.hexdigest()[:12]


def file_digest(path: str | Path) -> str:
    """SHA-256 of a whole file."""
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def loaded_identity(model: Model) -> str:
    """Fingerprint of the weights of a model in memory: "weights ..." with a hash of twelve hexadecimal digits.

    The hash reads names, shapes, types and up to 256 evenly spaced entries of every parameter: another training run or
    precision changes it, a change of a few weights may not. The devices do not matter.

    Examples
    --------
    >>> import vlm
    >>> model, _ = vlm.load("tiny")
    >>> loaded_identity(model)
    'weights 64e1fefa51ad'
    """
    digest = hashlib.sha256(type(model).__name__.encode())
    for name, parameter in model.named_parameters():
        digest.update(f"\0{name}\0{tuple(parameter.shape)}\0{parameter.dtype}\0".encode())
        if parameter.device.type != "meta":
            flat = parameter.detach().reshape(-1)
            digest.update(flat[:: max(1, flat.numel() // 256)][:256].double().cpu().numpy().tobytes())
    return f"weights {digest.hexdigest()[:12]}"
