"""Optional packages are imported where they are used; a missing one gives one clear line."""

from __future__ import annotations

import importlib
from typing import Any


def need(module: str, *, extra: str) -> Any:
    """Import an optional module, or say which extra brings it."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        package = module.partition(".")[0]
        raise ImportError(f"needs {package}: pip install 'skipit[{extra}]'") from error
