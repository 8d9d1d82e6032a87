"""Measure, plan, skip and validate on vision-language models.

Public names are loaded when they are first used: ``import vlm`` loads neither torch nor transformers.
``__init__.pyi`` lists which name comes from which room.
"""

from importlib.util import find_spec as _find_spec

_missing = [_name for _name in ("torch", "transformers", "lazy_loader") if _find_spec(_name) is None]
if _missing:
    raise ImportError(f"vlm needs {', '.join(_missing)}: pip install 'skipit[vlm]'")

import lazy_loader as _lazy_loader  # noqa: E402

__getattr__, __dir__, _names = _lazy_loader.attach_stub(__name__, __file__)
__all__ = [_name for _name in _names if not _name.startswith("_")]
