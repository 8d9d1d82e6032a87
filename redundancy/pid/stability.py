"""How far the atoms can move with the distribution: BROJA's modulus of continuity, and confidence limits."""

from __future__ import annotations

import math

from redundancy.information.finite_entropy import entropy_modulus
from redundancy.pid.result import ATOMS, PID, Atom


def unique_modulus(a: float, b: float, size: int) -> float:
    """|U(P) - U(P')| for TV of the (T, X) marginals <= a, of the (T, Y) marginals <= b, |T| = size (9.3)."""
    return float(entropy_modulus(b, size) + entropy_modulus(a + b + min(a, b), size))


def variation_radius(cells: int, n: int, alpha: float) -> float:
    """v with P(TV(empirical, true) >= v) <= alpha, for n independent samples on `cells` cells (theory, section 9.3)."""
    if cells < 2:
        return 0.0
    # log(2^K - 2), without overflow
    log_events = cells * math.log(2.0) + math.log1p(-(2.0 ** (1 - cells)))
    return math.sqrt((log_events - math.log(alpha)) / (2.0 * n))


def stability_limits(pid: PID, shape: tuple[int, ...], *, n: int, alpha: float) -> dict[Atom, tuple[float, float]]:
    """Confidence limits that hold together for all four atoms of the sampled distribution, at confidence 1 - alpha.

    alpha is shared by the two pair tables and the whole table. With a, b, c their radii: the unique atoms move by
    at most (9.3), in both roles; R = I(T; X) - U_X by omega(a) more for each of H(T) and H(T | X); S = I(T; X | Y) -
    U_X by omega(b) + omega(c) more. The gap widens the limits on its side, and every atom is in [0, log |T|].
    """
    size_t, size_x, size_y = shape
    a = variation_radius(size_t * size_x, n, alpha / 3.0)
    b = variation_radius(size_t * size_y, n, alpha / 3.0)
    c = variation_radius(size_t * size_x * size_y, n, alpha / 3.0)
    move_x, move_y = unique_modulus(a, b, size_t), unique_modulus(b, a, size_t)
    moves: dict[Atom, float] = {
        "unique_x": move_x,
        "unique_y": move_y,
        "redundant": min(
            move_x + 2.0 * float(entropy_modulus(a, size_t)),
            move_y + 2.0 * float(entropy_modulus(b, size_t)),
        ),
        "synergistic": min(
            move_x + float(entropy_modulus(b, size_t)),
            move_y + float(entropy_modulus(a, size_t)),
        )
        + float(entropy_modulus(c, size_t)),
    }
    limits: dict[Atom, tuple[float, float]] = {}
    for atom in ATOMS:
        low, high = pid.interval(atom)
        limits[atom] = (max(0.0, low - moves[atom]), min(math.log(size_t), high + moves[atom]))
    return limits
