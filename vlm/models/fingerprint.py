"""Which weights a run was made with: a name alone does not say, since branches move and folders are overwritten."""

from __future__ import annotations

import hashlib
from pathlib import Path

from vlm.models.loading import EMBEDDED
from vlm.models.transformers_internals import commit_of

# Of each file of a checkpoint that is read, in pieces spread evenly; what is smaller is read whole.
_READ = 16 * 2**20
_PIECES = 64
_PARTS = (".json", ".safetensors", ".bin", ".jinja", ".model", ".txt")


def model_identity(name: str, revision: str | None = None) -> str:
    """What a model's name stands for now.

    Returns
    -------
    str
        "commit ..." of a hub id; for a folder "digest ...", a hash of names, sizes and contents of its
        configuration, tokenizer and weights. Of a file above 16 MiB the hash reads pieces at 64 places: another
        training run changes them, a change of single weights may not.
    """
    folder = Path(EMBEDDED.get(name, name)).expanduser()
    if folder.is_dir():
        return f"digest {folder_digest(folder)}"
    from transformers import AutoConfig

    config = AutoConfig.from_pretrained(name, revision=revision or "main", trust_remote_code=False)
    return f"commit {commit_of(config) or 'unknown'}"


def folder_digest(folder: Path) -> str:
    """Twelve hexadecimal digits; see :func:`model_identity`."""
    found = hashlib.sha256()
    for path in sorted(folder.iterdir()):
        if path.suffix in _PARTS and path.is_file():
            size = path.stat().st_size
            found.update(f"{path.name}\0{size}\0".encode())
            with path.open("rb") as file:
                for start in (0,) if size <= _READ else (k * size // _PIECES for k in range(_PIECES)):
                    file.seek(start)
                    found.update(file.read(_READ if size <= _READ else _READ // _PIECES))
    return found.hexdigest()[:12]


def file_digest(path: str | Path) -> str:
    """SHA-256 of a whole file."""
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
