"""Files written atomically: a reader, a crash or a second writer never leaves half of one."""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, TextIO
from uuid import uuid4

from vlm.file_locks import locked

_WINDOWS = os.name == "nt"
_ATTEMPTS, _PATIENCE = 8, 0.01  # seconds before the second attempt; doubled before each further one
_FULL = tuple(getattr(errno, name) for name in ("ENOSPC", "EDQUOT", "EFBIG") if hasattr(errno, name))
# What file systems without hard links (FAT, some network and FUSE file systems) answer to `os.link`.
_NO_LINKS = tuple(
    getattr(errno, name) for name in ("EPERM", "EACCES", "ENOTSUP", "EOPNOTSUPP", "ENOSYS") if hasattr(errno, name)
)


def write_atomically(path: str | Path, text: str) -> Path:
    """Write a text file atomically; returns its path. Raises as :func:`writing` does."""
    with writing(path) as file:
        file.write(text)
    return Path(path)


@contextmanager
def writing(path: str | Path, *, replace: bool = True) -> Iterator[TextIO]:
    """Open a UTF-8 text file that appears under its name when the context is left without an exception.

    Parameters
    ----------
    path : str or Path
        Where it appears; missing folders are made.
    replace : bool
        Replace an existing file. If False, an existing file is kept: of several processes that write the same path
        at once, the first to finish wins.

    Yields
    ------
    TextIO
        A temporary file in the same folder. Line ends are written as given.

    Raises
    ------
    OSError
        The disk is full or cannot be written; the message says what to do.
    """
    with _appearing(Path(path), replace) as part, part.open("w", encoding="utf-8", newline="") as file:
        yield file
        _flush(file)


@contextmanager
def writing_bytes(path: str | Path) -> Iterator[BinaryIO]:
    """As :func:`writing`, for a binary file."""
    with _appearing(Path(path), True) as part, part.open("wb") as file:
        yield file
        _flush(file)


@contextmanager
def _appearing(path: Path, replace: bool) -> Iterator[Path]:
    # Not the process id: in containers, workers on different machines may have the same one.
    part = path.with_name(f"{path.name}.{uuid4().hex}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield part
        if replace:
            _replace(part, path)
        else:
            _publish_first(part, path)
        sync_folder(path.parent)
    except OSError as error:
        if error.errno is None or error.filename not in (None, str(part), str(path), str(path.parent)):
            raise  # what the caller reads while it writes
        raise explained(error, path) from error
    finally:
        if part.parent.is_dir():
            part.unlink(missing_ok=True)


def _replace(part: Path, path: Path) -> None:
    """Give a finished file its name. Windows refuses while a reader has the old file open, which takes an instant."""
    for attempt in range(_ATTEMPTS):
        try:
            os.replace(part, path)
            return
        except PermissionError:
            if not _WINDOWS or attempt == _ATTEMPTS - 1:
                raise
            time.sleep(_PATIENCE * 2**attempt)


def _flush(file: TextIO | BinaryIO) -> None:
    file.flush()
    os.fsync(file.fileno())


def _publish_first(part: Path, path: Path) -> None:
    """Give a finished file its name unless the name is taken."""
    link: Callable[[Path, Path], None] | None = getattr(os, "link", None)  # some platforms have no hard links
    if link is not None:
        try:
            link(part, path)
            return
        except FileExistsError:
            return
        except OSError as error:
            if error.errno not in _NO_LINKS:
                raise
    with locked(path, wait=True):
        if not path.exists():
            _replace(part, path)


def sync_folder(folder: Path) -> None:
    """Make the names in a folder survive a power failure, where the operating system can."""
    if _WINDOWS:  # cannot open a folder as a file, and NTFS journals its names
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):  # some network file systems cannot sync a folder
            raise
    finally:
        os.close(descriptor)


def explained(error: OSError, path: Path) -> OSError:
    """The same error with a message that names the file and the remedy."""
    remedy = "free some space" if error.errno in _FULL else "choose another --out"
    return OSError(
        error.errno,
        f"records: cannot write {path}: {os.strerror(error.errno or 0)}; {remedy} and start the same command again, "
        "which continues where this one stopped",
    )
