"""Every public result shows itself in one short line, as HTML, as plain data and through format()."""

from __future__ import annotations

import importlib
import inspect

import pytest

from redundancy.display import Displayed

ROOTS = ("redundancy", "bounds", "vlm")
ROOMS = tuple(f"vlm.{n}" for n in ("datasets", "judges", "published", "reports", "scoring", "selectors", "tiny"))


def classes() -> list[type]:
    found = {}
    for package in (*ROOTS, *ROOMS):
        module = importlib.import_module(package)
        for name in module.__all__:
            value = getattr(module, name)
            if inspect.isclass(value) and "__dataclass_fields__" in vars(value):
                found[f"{package}.{name}"] = value
    return [found[name] for name in sorted(found)]


@pytest.mark.parametrize("value", classes(), ids=lambda value: f"{value.__module__}.{value.__name__}")
def test_public_dataclasses_are_displayed(value):
    assert issubclass(value, Displayed), f"{value.__name__}: use redundancy.display.Displayed"
    # A dataclass writes its own __repr__ unless told not to.
    line = inspect.getsource(value).split("class ", 1)[0]
    own = vars(value).get("__repr__")
    assert own is None or "repr=False" in line or own.__qualname__.startswith(value.__name__)
