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
        origin = Path(package.origin).resolve() if package and package.origin else None
        assert origin and origin.is_relative_to(ROOT), f"imported {name} from {origin}, not from this checkout"
