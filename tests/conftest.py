"""Test-wide rules: the imported packages are this checkout's, and property tests are reproducible."""

from pathlib import Path

import hypothesis

ROOT = Path(__file__).resolve().parents[1]

hypothesis.settings.register_profile("repeatable", derandomize=True, deadline=None, print_blob=True)
hypothesis.settings.load_profile("repeatable")


def pytest_sessionstart() -> None:
    # Other distributions install top-level packages called `bounds` and `vlm`.
    import bounds
    import redundancy
    import vlm

    for package in (redundancy, bounds, vlm):
        found = Path(package.__file__).resolve()
        assert found.is_relative_to(ROOT), f"imported {package.__name__} from {found}, not from this checkout"
