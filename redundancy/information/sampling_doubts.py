"""When a plug-in information cannot be trusted: too many occupied cells for the images (or rows) that fill them."""

from __future__ import annotations

import warnings
from typing import Literal, get_args

from redundancy import checks

OnDoubt = Literal["warn", "raise", "ignore"]
LARGEST_BIAS = 0.1  # nats
LARGEST_SHARE_ALONE = 0.5


def plugin_doubts(degrees: int, units: int, alone: float, *, unit: str, corrected: bool = False) -> list[str]:
    """Doubts about an information from `units` independent units.

    `degrees` are the degrees of freedom of independence among the occupied cells, K_xyz - K_xz - K_yz + K_z: the bias
    is about degrees / (2 units) (Miller 1955). That formula sees occupied cells only; `alone`, the mass in cells that
    a single unit fills, estimates the mass of the cells that nobody has seen (Good 1953).
    """
    doubts = []
    bias = degrees / (2.0 * units)
    if bias > LARGEST_BIAS and not corrected:
        doubts.append(
            f"the plug-in is biased upwards by about {bias:.2f} nats ({degrees} degrees of freedom, {units} {unit}s); "
            "use fewer symbols, more data or a bias correction"
        )
    if alone > LARGEST_SHARE_ALONE:
        doubts.append(
            f"{alone:.0%} of the mass is in cells that one {unit} alone fills, so that most cells were never seen; "
            "use fewer symbols or more data, and compare with permutation_test"
        )
    return doubts


def raise_doubts(messages: list[str], on_doubt: OnDoubt) -> None:
    """Warn, raise ValueError or do nothing, as `on_doubt` asks."""
    checks.one_of(on_doubt, get_args(OnDoubt), name="on_doubt")
    if not messages or on_doubt == "ignore":
        return
    text = "; ".join(messages)
    if on_doubt == "raise":
        raise ValueError(text)
    warnings.warn(text, RuntimeWarning, stacklevel=4)
