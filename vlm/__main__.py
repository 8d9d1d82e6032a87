"""The command line: ``skipit`` or ``python -m vlm``.

Each command imports what it needs when it runs, so that ``--help`` and mistyped flags answer at once.
"""

from __future__ import annotations

import argparse
import io
import os
import signal
import sys
import threading
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from vlm.commands import (
    check,
    compare,
    compare_methods,
    demo,
    exactness,
    experiment,
    export,
    listing,
    merge,
    notions,
    optimize,
    plan,
    report,
    score,
    states,
)

_PACKAGES = Path(__file__).resolve().parents[1]
_ADD_COMMANDS = (
    demo.add,
    listing.add,
    experiment.add_measure,
    states.add,
    notions.add,
    plan.add,
    optimize.add,
    experiment.add_sweep,
    score.add,
    compare.add,
    compare_methods.add,
    merge.add,
    report.add,
    export.add,
    exactness.add,
    check.add,
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog=_program(),
        description="Measure redundancy of a vision-language model's layers, plan, skip, validate.",
        epilog="example: python -m vlm demo --out runs/demo",
    )
    parser.add_argument("--version", action=_Version, nargs=0, help="print the version and stop")
    commands = parser.add_subparsers(dest="command", required=True)
    for add in _ADD_COMMANDS:
        add(commands)
    _print_anything()
    options = parser.parse_args(arguments)
    try:
        _refuse_nul(options)
        with _terminable():
            status: int = options.run(options)
    except KeyboardInterrupt as stop:
        print("stopped; completed records are kept, and the same command continues", file=sys.stderr)
        return 143 if isinstance(stop, _Terminated) else 130
    except BrokenPipeError:  # who reads the output has seen enough, as `head` has
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115 (what is left to be flushed at exit goes nowhere)
        return 141
    except (ValueError, OSError, RuntimeError, ImportError) as error:
        if not _ours(error):
            traceback.print_exc()
        print(f"{_program()} {options.command}: error: {error}", file=sys.stderr)
        return 1
    return status


def _refuse_nul(options: argparse.Namespace) -> None:
    """A NUL character ends the names of files; nothing that is given holds one."""
    for name, value in vars(options).items():
        texts = value if isinstance(value, list) else [value]
        if any(isinstance(text, str) and "\0" in text for text in texts):
            raise ValueError(f"{name}: expected text without a NUL character, got {value!r}")


def _print_anything() -> None:
    """Escape what a terminal's encoding lacks, such as a sign in an item's id, instead of ending with an error."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper) and stream.errors == "strict":
            stream.reconfigure(errors="backslashreplace")


class _Interrupted(KeyboardInterrupt):
    """SIGINT. A plain KeyboardInterrupt inside `exec`, as in making a dataclass, ends ``python -m`` by the signal."""


class _Terminated(KeyboardInterrupt):
    """SIGTERM, by which schedulers stop a job."""


@contextmanager
def _terminable() -> Iterator[None]:
    """End at SIGTERM as at Ctrl-C, where signals can be handled: in the main thread."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(number: int, frame: object) -> None:
        raise _Interrupted if number == signal.SIGINT else _Terminated

    # SIGBREAK is what Windows sends where others send SIGTERM.
    ends = [getattr(signal, name) for name in ("SIGTERM", "SIGBREAK") if hasattr(signal, name)]
    before = {number: signal.signal(number, stop) for number in ends}
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:  # else it is ignored, as under nohup
        before[signal.SIGINT] = signal.signal(signal.SIGINT, stop)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)


class _Version(argparse.Action):
    """Print the version, which is read only then."""

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        from vlm.version import __version__

        print(f"skipit {__version__}")
        parser.exit()


def _program() -> str:
    """The name under which the program was called."""
    return "skipit" if Path(sys.argv[0]).stem == "skipit" else "python -m vlm"


def _ours(error: BaseException) -> bool:
    """Whether an error's message suffices: of these packages, or the system's about a file; others need a traceback."""
    if isinstance(error, OSError) and error.errno is not None and error.filename is not None:
        return True
    frames = traceback.extract_tb(error.__traceback__)
    where = Path(frames[-1].filename).resolve()
    return any(where.is_relative_to(_PACKAGES / name) for name in ("vlm", "bounds", "redundancy"))


if __name__ == "__main__":
    sys.exit(main())
