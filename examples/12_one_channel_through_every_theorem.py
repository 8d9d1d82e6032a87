"""One channel through every theorem
=================================

A fair sign X, of which the later layer Y keeps the truth except with probability p; the task is X itself. Every
quantity of the theory is a formula of p, so every bound can be held against the number that it bounds.

The table shows which theorems are exact here and what the others lose; the figure shows the curves that turn
information, entropy and error probabilities into loss, and how angles of many layers add up.
"""

import argparse
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np

import bounds


def entropy(p):
    """h_2(p) in nats, for 0 < p < 1."""
    return -p * np.log(p) - (1 - p) * np.log1p(-p)


def rows(p):
    """Statement, what it bounds, the bound and the truth, for P(Y != X) = p < 1/2."""
    gap = 4 * p * (1 - p)  # mmse(X | Y), while mmse(X | X) = 0
    distance, equivocation, shared = 2 * p, entropy(p), np.log(2) - entropy(p)
    return [
        ("Proposition 1", "mean distance", bounds.geometric_from_proximal(0.0, p), distance),
        ("Theorem 1", "gap of mmse", bounds.functional_from_geometric(distance, 1.0), gap),
        ("Theorem 2", "gap of predictions", bounds.sharp_prediction_gap_from_variance(gap, gap, 1, 0, 0, 0) ** 2, gap),
        ("Theorem 3", "H(X | Y)", bounds.fano(p, 2, 1, 1), equivocation),
        ("Theorem 4", "I(X; Y) from below", bounds.information_from_proximity(1 - p, 0.5), shared),
        ("Theorem 5, psi", "gap of mmse", bounds.functional_from_information(equivocation, 1.0), gap),
        ("Theorem 5, entropy", "gap of mmse", bounds.functional_from_entropy(equivocation, 1.0), gap),
        ("Theorem 6", "gap of mmse", bounds.functional_from_decoding(p, 1.0), gap),
    ]


def curves(axis):
    """What information and entropy can cost, in units of B^2."""
    nats = np.linspace(0.0, 1.2, 400)
    axis.plot(nats, np.minimum(2 * nats, 1.4), ":", label="$2I$")
    axis.plot(nats, bounds.functional_from_information(nats, 1.0), label=r"$\psi(I)$, the best")
    axis.plot(nats, bounds.functional_from_entropy(nats, 1.0), "--", label=r"$H(X\,|\,Y)/\log 2$, the best")
    axis.set(xlabel="nats", ylabel="loss / $B^2$", ylim=(0, 1.4), title="Theorem 5")
    axis.legend(loc="lower right")


def errors(axis):
    """Fano's bound has a peak, behind which it falls; the loss by decoding does not."""
    p = np.linspace(0.0, 1.0, 401)
    fano = bounds.fano(p, 20, 5, 5) / np.log(20)
    axis.plot(p, fano, label=r"$F(p)/\log 20$, 20 words, 5 in a ball")
    axis.plot(p[fano.argmax()], fano.max(), "o", color="C0")
    axis.plot(p, bounds.fano_monotone(p, 20, 5, 5) / np.log(20), ":", color="C0", label=r"$\bar F$, for limits of $p$")
    axis.plot(p, bounds.functional_from_decoding(p, 1.0), color="C1", label=r"$\chi(p)$")
    axis.set(xlabel="P(far), or P(decoding fails)", ylim=(0, 1.25), title="Theorems 3 and 6")
    axis.legend(loc="lower right")


def fan(axis):
    """Six layers that each turn by the same angle: at worst the angles add up."""
    angle, layers = 0.25, 6
    each = 1 - np.cos(angle)
    ends = np.arange(layers + 1) * angle
    for number, end in enumerate(ends):
        axis.annotate("", (np.cos(end), np.sin(end)), (0, 0), arrowprops={"arrowstyle": "->", "color": f"C{number}"})
        axis.text(1.05 * np.cos(end), 1.05 * np.sin(end), f"$h_{number}$", ha="center", va="center")
    total = float(bounds.geometric_chain(np.full(layers, each)))
    axis.plot(np.cos(ends[[0, -1]]), np.sin(ends[[0, -1]]), "k--", linewidth=1)
    axis.text(-0.15, -0.16, f"each {each:.3f}, sum {layers * each:.2f}, first to last at most {total:.2f}", fontsize=9)
    axis.set(aspect="equal", xlim=(-0.2, 1.3), ylim=(-0.25, 1.2), title="(8.2): a fan of angles")
    axis.axis("off")


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("figures"))
    out = parser.parse_args().out
    out.mkdir(parents=True, exist_ok=True)

    p = 0.1
    print(f"a sign that is flipped with probability {p}:")
    for statement, quantity, bound, truth in rows(p):
        exact = "exact" if np.isclose(bound, truth, rtol=1e-9) else f"{float(bound / truth):.2f} times"
        print(f"  {statement:<19}{quantity:<20}{float(bound):.4f}  truth {truth:.4f}  {exact}")

    # Far is not unknown: with p = 0.9 the later sign is nearly always the wrong one, and tells just as much.
    print(f"\nflipped with probability 0.9: H(X | Y) = {entropy(0.9):.4f} as before,")
    allowed = float(bounds.functional_from_geometric(1.8, 1.0))
    print(f"but the mean distance is 1.8, and Theorem 1 allows any gap up to {allowed:.2f}")

    figure, axes = plt.subplots(1, 3, figsize=(13, 4), layout="constrained")
    for draw, axis in zip((curves, errors, fan), axes, strict=True):
        draw(axis)
    figure.savefig(out / "theory_curves.png", dpi=110)


if __name__ == "__main__":
    main()
