"""Types of arguments, and what every command prints."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TypeAlias

Commands: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"


class HelpFormatter(argparse.RawDescriptionHelpFormatter, argparse.ArgumentDefaultsHelpFormatter):
    """Examples stay as they are written, and every option says its default unless its text does or there is none."""

    def _get_help_string(self, action: argparse.Action) -> str | None:
        told = "default" in (action.help or "") or action.default is None or action.default is False
        return action.help if told else super()._get_help_string(action)


def positive(text: str) -> int:
    """Read a whole number that is at least 1."""
    number = int(text) if text.isascii() and text.isdigit() else 0
    if number < 1:
        raise argparse.ArgumentTypeError(f"expected a whole number >= 1, got {text!r}")
    return number


def print_written(paths: Sequence[Path]) -> int:
    """Print the files that were written; returns the exit status."""
    for path in paths:
        print(f"wrote {path}")
    return 0
