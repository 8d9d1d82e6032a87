"""Processes of their own that need not import torch again: children of one server that has imported it.

They are started, killed and waited for like any process; what differs from `python file.py` is only that the imports
are done already.
"""

from __future__ import annotations

import multiprocessing
import os
import runpy
import sys
import warnings
from collections.abc import Callable
from multiprocessing.context import ForkServerProcess
from pathlib import Path

CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload(["tests.support.preloaded"])


def start(target: Callable[..., None], *arguments: object) -> ForkServerProcess:
    """A function of a test's module in a process of its own, which is already running."""
    process = CONTEXT.Process(target=target, args=arguments)
    process.start()
    return process


def run_script(path: Path, *arguments: str, cwd: Path, timeout: float = 600.0) -> tuple[int, str, str]:
    """The exit code, standard output and standard error of a script; deprecated calls in it are errors."""
    out, err = cwd / "stdout.txt", cwd / "stderr.txt"
    process = start(_script, path, arguments, cwd, out, err)
    process.join(timeout)
    if process.exitcode is None:
        process.kill()
        raise TimeoutError(f"{path.name} still ran after {timeout:.0f} s: {err.read_text()[-2000:]}")
    return process.exitcode, out.read_text(encoding="utf-8"), err.read_text(encoding="utf-8")


def _script(path: Path, arguments: tuple[str, ...], cwd: Path, out: Path, err: Path) -> None:
    for stream, file in ((1, out), (2, err)):
        os.dup2(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), stream)
    os.chdir(cwd)
    sys.argv = [str(path), *arguments]
    warnings.filterwarnings("error", category=DeprecationWarning, module="__main__")
    runpy.run_path(str(path), run_name="__main__")
