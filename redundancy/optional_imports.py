"""Optional packages are imported where they are used; a missing one gives one line that says what to install."""

from __future__ import annotations

import importlib
from typing import Any


def optional_import(module: str, *, extra: str, purpose: str) -> Any:
    """Import an optional module, or say which extra provides it.

    Parameters
    ----------
    module : str
        Dotted name, such as ``"matplotlib.pyplot"``.
    extra : str
        The extra of this distribution that installs it.
    purpose : str
        What needs it; the error begins with it.

    Raises
    ------
    ImportError
        ``"{purpose} needs {package}: pip install 'skipit[{extra}]'"``, when the package is missing.
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        package = error.name or module.partition(".")[0]
        raise ImportError(f"{purpose} needs {package}: pip install 'skipit[{extra}]'") from error
