"""Test-wide rules: the imported packages are this checkout's, and property tests are reproducible."""

from importlib.util import find_spec
from pathlib import Path

import hypothesis

ROOT = Path(__file__).resolve().parents[1]

hypothesis.settings.register_profile("repeatable", derandomize=True, deadline=None, print_blob=True)
hypothesis.settings.load_profile("repeatable")


def pytest_sessionstart() -> None:
    # Other distributions install top-level packages called `bounds` and `vlm`.
    for name in ("redundancy", "bounds", "vlm"):
        package = find_spec(name)
        assert package is not None, f"{name} is not importable from {ROOT}"
        origin = Path(package.origin or "nowhere").resolve()
        assert origin.is_relative_to(ROOT), f"{name} would come from {origin}, not from this checkout"
