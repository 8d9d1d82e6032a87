"""Runs commands of ``python -m vlm`` in this process, or in a fresh one, and reads what they print."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from vlm.__main__ import main

HEAVY = ("torch", "transformers", "matplotlib", "sklearn", "sympy")


def said(capsys, *command):
    """Exit status, output and errors of a command."""
    status = main([str(word) for word in command])
    told = capsys.readouterr()
    return status, told.out, told.err


def directory(out, word):
    """The directory that a command prints behind `word`."""
    return next(line.split(": ", 1)[1] for line in out.splitlines() if line.startswith(f"{word}: "))


def run_and_list_modules(*command, cwd):
    """Exit status of a command in a fresh interpreter, and which heavy packages it imported."""
    code = (
        "import sys; from vlm.__main__ import main\n"
        "try: status = main(sys.argv[1:])\n"
        "except SystemExit as stop: status = stop.code\n"
        f"print('loaded', status, [m for m in {HEAVY!r} if m in sys.modules])"
    )
    root = Path(__file__).resolve().parents[2]
    environment = {**os.environ, "PYTHONPATH": str(root)}
    words = [str(word) for word in command]
    run = subprocess.run(
        [sys.executable, "-c", code, *words], capture_output=True, text=True, check=True, cwd=cwd, env=environment
    )
    return run.stdout.splitlines()[-1]
