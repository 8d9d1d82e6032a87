"""Time and memory of merge, report, score and compare as runs grow: python tests/benchmarks/bench_runs.py

Each step runs in a process of its own, whose largest resident memory is printed; some 100 MB of it are Python with
NumPy. It runs on a terminal, and the longest time in which nothing new is shown there is printed too.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import subprocess
import sys
import termios
import time
from pathlib import Path
from tempfile import TemporaryDirectory

from vlm.experiments.run_directory import StoredRun, begin
from vlm.experiments.spec import DataChoice, Spec
from vlm.plans.plan import SkipPlan
from vlm.record_log import line

ROOT = Path(__file__).resolve().parents[2]
PLANS = (SkipPlan(), *(SkipPlan.late_entry(k) for k in range(1, 6)), *(SkipPlan.early_exit(k) for k in range(5, 9)))
STEPS = {
    "merge": "from vlm.experiments.merging import merge; merge(sys.argv[1])",
    "report": "from vlm.reports import write; write(sys.argv[1], sys.argv[1] + '/report')",
    "score": "from vlm.experiments.score_layers import rescore; rescore(sys.argv[1])",
    "compare": "from vlm.reports.run_comparison import compare; compare(sys.argv[1])",
    "questions": "from vlm.reports.question_viewer import write_questions; "
    "write_questions(sys.argv[1], sys.argv[1] + '/report/questions')",
    "export": "from vlm.reports.exports import write_records; write_records(sys.argv[1], sys.argv[1] + '/r.parquet')",
}


def write_run(folder: Path, records: int) -> Path:
    """A finished run of ten plans with known answers, over a JSONL file without pictures."""
    items = records // len(PLANS)
    source = folder / "mine.jsonl"
    with source.open("w") as file:
        for i in range(items):
            row = {
                "id": f"question-{i:07}",
                "image_id": f"image-{i // 5:06}",
                "question": f"What is {i}?",
                "answer": "red",
            }
            file.write(json.dumps(row) + "\n")
    spec = Spec(data=(DataChoice("jsonl", source=str(source)),), plans=tuple(map(str, PLANS)))
    run = StoredRun(spec, folder / spec.digest)
    from vlm.datasets import read
    from vlm.experiments.item_identity import Items

    begin(run.folder, spec.content(), {"protocol": "skip-it 2", "scorers": "exact 4", "torch": "2"})
    (run.folder / "records").mkdir()
    listed = Items(run.folder, spec.data[0])
    with (run.folder / "records" / "1-of-1.jsonl").open("w") as file:
        for number, item in enumerate(read("jsonl", source=source)):
            listed.see(item)
            for place, plan in enumerate(PLANS):
                right = (number * 7 + place) % 10 < 7
                record = {
                    "dataset": "jsonl",
                    "item": item.id,
                    "item_digest": item.digest,
                    "image_id": item.image_id,
                    "group": "Your own",
                    "plan": str(plan),
                    "plan_digest": plan.digest,
                    "protocol": "skip-it 2",
                    "model": "tiny",
                    "spec": run.digest,
                    "versions": run.made_with,
                    "seed": 0,
                    "thought": "none",
                    "prediction": "red" if right else "blue " * 20,
                    "letter_probabilities": None,
                    "failure": None,
                    "tokens": {"vision": 576, "text": 40, "new": 3},
                    "judge": None,
                    "parsed": "red",
                    "operations": {"plan": 9e11, "full": 1e12},
                    "score": float(right),
                    "run": {"seconds_prefill": 0.2, "seconds_decode": 0.1, "batch": 8, "shard": "1-of-1", "attempt": 1},
                }
                file.write(line(record))
    listed.finish()
    return run.folder


def measured(code: str, folder: Path) -> tuple[float, float, float]:
    """Processor seconds, largest resident megabytes and longest silence in seconds of a step in a fresh process."""
    tail = (
        "; import resource; u = resource.getrusage(resource.RUSAGE_SELF); print(u.ru_utime + u.ru_stime, u.ru_maxrss)"
    )
    command = [sys.executable, "-c", f"import sys; {code}{tail}", str(folder)]
    terminal, theirs = os.openpty()
    termios.tcsetwinsize(theirs, (24, 100))
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=theirs, text=True) as process:
        os.close(theirs)
        heard = [time.perf_counter()]
        try:
            while os.read(terminal, 65536):
                heard.append(time.perf_counter())
        except OSError:  # the other end is closed
            heard.append(time.perf_counter())
        os.close(terminal)
        assert process.stdout is not None
        out = process.stdout.read().split()
    if process.returncode:
        raise RuntimeError(f"a step ended with status {process.returncode}")
    return float(out[-2]), float(out[-1]) / 1024, max(b - a for a, b in itertools.pairwise(heard))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--records", nargs="+", type=int, default=[10_000, 100_000])
    parser.add_argument("--steps", nargs="+", choices=tuple(STEPS), default=tuple(STEPS), help="in their order")
    given = parser.parse_args()
    for count in given.records:
        with TemporaryDirectory() as name:
            folder = write_run(Path(name), count)
            size = sum(path.stat().st_size for path in folder.rglob("*.jsonl")) / 2**20
            for step in given.steps:
                code, start = STEPS[step], time.perf_counter()
                seconds, megabytes, silence = measured(code, folder)
                print(
                    f"{count:>9,} records ({size:,.0f} MB)  {step:9}  {seconds:8.1f} processor s  {megabytes:7.0f} MB",
                    f" ({time.perf_counter() - start:.0f} s on the clock, {silence:.1f} s without a sign)",
                    flush=True,
                )


if __name__ == "__main__":
    main()
