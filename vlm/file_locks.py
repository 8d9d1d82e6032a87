"""Advisory locks between processes: one writer per file, on Linux, macOS and Windows.

The lock of ``records.jsonl`` is the file ``records.jsonl.lock`` beside it. It holds no data and stays when the lock is
released; what counts is the operating system's lock on it, which ends with its process, however that ends. A lock file
that is left over therefore blocks no process. On network file systems the server must support locks (NFS 4, Lustre
mounted with ``flock``). Where the operating system has no such locks at all, filelock falls back to a file that exists
while the lock is held; such a lock can outlive a process on another machine, and the error text says what to delete.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, SoftFileLock, Timeout

_PATIENCE = 0.1  # seconds; `is_locked` holds a free lock for an instant


class LockedError(RuntimeError):
    """Another process holds the lock; the message ends with what to delete if that process no longer exists."""


@contextmanager
def locked(path: str | Path, *, wait: bool = False) -> Iterator[None]:
    """Hold the lock of a file while the context is open.

    Parameters
    ----------
    path : str or Path
        The file to be protected; its folder must exist, the file itself need not.
    wait : bool
        Wait until the lock is free; by default a lock held by another process is an error.

    Raises
    ------
    LockedError
        Another process (or another context in this one) holds the lock, and `wait` is False.
    OSError
        The lock file cannot be made, or the file system does not support locks.
    """
    lock = FileLock(_lock_file(path))
    try:
        lock.acquire(timeout=-1 if wait else _PATIENCE, poll_interval=0.02)
    except Timeout as error:
        remedy = f"; if no such process exists, delete {_lock_file(path)}" if isinstance(lock, SoftFileLock) else ""
        raise LockedError(f"another process is writing to {path}{remedy}") from error
    try:
        yield
    finally:
        lock.release()


def is_locked(path: str | Path) -> bool:
    """Whether a process holds the lock of a file. Creates nothing."""
    if not _lock_file(path).exists():
        return False
    lock = FileLock(_lock_file(path))
    try:
        lock.acquire(timeout=0)
    except Timeout:
        return True
    lock.release()
    return False


def _lock_file(path: str | Path) -> Path:
    path = Path(path)
    return path.with_name(f"{path.name}.lock")
