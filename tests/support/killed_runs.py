"""Sweeps that the system kills, then disturbances of what they left, and what must hold after each."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from threading import RLock

import pytest
import torch
from tqdm import tqdm

from tests.support import forked
from vlm.__main__ import main
from vlm.experiments.merging import merged
from vlm.experiments.run_directory import log_paths
from vlm.experiments.spec import Spec, read_spec
from vlm.experiments.sweep_run import sweep
from vlm.record_log import read


def _run(command: list[str]) -> None:
    tqdm.set_lock(RLock())  # in place of a semaphore of the system, which a killed process would leave behind
    torch.set_num_threads(1)
    for name in [n for n in os.environ if n.startswith(("SLURM_", "RANK", "WORLD_SIZE"))]:
        del os.environ[name]
    sys.exit(main(command))


def written(folder: Path) -> int:
    """Bytes of records in a run's directory."""
    return sum(path.stat().st_size for path in (folder / "records").glob("*.jsonl"))


def tables(folder: Path) -> dict[str, bytes]:
    """Everything that merging writes except times and the sizes of the workers' files."""
    assert main(["merge", str(folder)]) == 0
    return {
        p.name: p.read_bytes() for p in (folder / "merged").iterdir() if p.name not in ("times.jsonl", "made-of.json")
    }


def killed_at(path: Path, out: Path, folder: Path, size: float, delay: float = 0.0) -> bool:
    """Sweep and kill the process when it has written that many bytes; returns whether it was still running."""
    process = forked.start(_run, ["sweep", str(path), "--out", str(out), "--quiet"])
    while process.is_alive() and not ((folder / "spec.json").exists() and written(folder) >= size):
        time.sleep(0.003)
    time.sleep(delay)
    process.kill()
    process.join()
    return process.exitcode == -signal.SIGKILL


@dataclass(frozen=True)
class Undisturbed:
    """A sweep that nothing disturbed, and what it wrote.

    Attributes
    ----------
    path : Path
        The spec's file; the data lie beside it, as `tests.support.fixture_sets` writes them.
    folder : Path
        Its run directory.
    tables : dict
        What merging wrote.
    foreign : bytes
        Records of another run over the same data.
    """

    path: Path
    folder: Path
    tables: dict[str, bytes]
    foreign: bytes

    @classmethod
    def of(cls, path: Path, out: Path) -> Undisturbed:
        spec = read_spec(path)
        folder = sweep(spec, out, progress=False)
        other = sweep(replace(spec, plans=(), batch_size=7), out, progress=False)
        return cls(path, folder, tables(folder), log_paths(other)[0].read_bytes())

    @property
    def spec(self) -> Spec:
        return read_spec(self.path)


def corrected_reference(run: Undisturbed, folder: Path) -> Callable[[], None]:
    """The first reference of a file is another; returns what undoes it."""
    source = run.path.parent / "first.jsonl"
    text = source.read_text()
    source.write_text(text.replace(json.dumps(json.loads(text.splitlines()[0])["answer"]), '"corrected"', 1))
    return lambda: void(source.write_text(text))


def overwritten_picture(run: Undisturbed, folder: Path) -> Callable[[], None]:
    """The first picture shows another scene under the same name."""
    picture = run.path.parent / "0.png"
    shown = picture.read_bytes()
    picture.write_bytes((run.path.parent / "1.png").read_bytes())
    return lambda: void(picture.write_bytes(shown))


def foreign_records(run: Undisturbed, folder: Path) -> Callable[[], None]:
    """The records of another spec lie beside the run's."""
    path = folder / "records" / "1-of-2.jsonl"
    path.write_bytes(run.foreign)
    return path.unlink


DISTURBANCES = (corrected_reference, overwritten_picture, foreign_records)


def check_refused(run: Undisturbed, folder: Path, disturb: Callable[[Undisturbed, Path], Callable[[], None]]) -> str:
    """A killed run is neither continued nor merged after a disturbance, and loses nothing; returns what was said."""
    before = {path.name: path.read_bytes() for path in log_paths(folder)}
    undo = disturb(run, folder)
    try:
        with pytest.raises((ValueError, RuntimeError)) as refusal:
            sweep(run.spec, folder.parent, progress=False)
        with pytest.raises((ValueError, RuntimeError)):
            merged(folder)  # it is not complete, or the records are another run's
        after = {path.name: path.read_bytes() for path in log_paths(folder)}
    finally:
        undo()
    # A line that the kill cut in two is removed, and computed again.
    whole = {name: data[: data.rfind(b"\n") + 1] for name, data in before.items()}
    assert all(after[name].startswith(data) for name, data in whole.items())
    return str(refusal.value)


def check_finished(run: Undisturbed, folder: Path) -> int:
    """The run is finished by one more command, byte for byte as undisturbed; returns the number of its records."""
    sweep(run.spec, folder.parent, progress=False)
    assert tables(folder) == run.tables
    records = [record for log in log_paths(folder) for record in read(log)]
    assert len({(r["dataset"], r["item"], r["plan"]) for r in records}) == len(records)
    return len(records)


def void(_: object) -> None:
    """Forget a value."""
