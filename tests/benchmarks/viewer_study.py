"""What a browser takes to open and to filter a viewer of many questions: python -m tests.benchmarks.viewer_study"""

from __future__ import annotations

import time
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.support.browser import browser
from tests.support.large_viewer import write_viewer

COUNTS = (10_000, 100_000, 1_000_000)
LOST = "const s = document.getElementById('show'); s.value = 'lost'; s.dispatchEvent(new Event('change'))"


def main() -> None:
    print("| questions, ten plans | index | opened | filtered | JavaScript's memory | elements of the page |")
    print("| --: | --: | --: | --: | --: | --: |")
    for count in COUNTS:
        with TemporaryDirectory() as name, browser() as page:
            path = write_viewer(Path(name) / "viewer", count)
            start = time.perf_counter()
            page.open(path, width=420)
            page.wait("document.querySelectorAll('article').length === 10")
            opened = time.perf_counter() - start
            start = time.perf_counter()
            page.value(f"(() => {{ {LOST} }})()")
            page.wait(f"document.getElementById('status').textContent.includes(' of {-(-count // 7)};')")
            filtered = time.perf_counter() - start
            size = (path.parent / "index.js").stat().st_size / 2**20
            heap = page.value("performance.memory.usedJSHeapSize") / 2**20
            elements = page.value("document.querySelectorAll('*').length")
            print(f"| {count:,} | {size:.1f} MB | {opened:.1f} s | {filtered:.1f} s | {heap:.0f} MB | {elements} |")


if __name__ == "__main__":
    main()
