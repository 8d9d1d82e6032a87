"""Information decomposition of three layers
=========================================

What three layers know about a label, together and alone: a decomposition of their codes.

A toy network reads the colour of an image. Its middle layer drops the colour, its last layer sharpens the shape.
The label needs the shape; a second label needs shape and colour at once.

::

    python examples/07_pid_on_three_layers.py --out figures
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

import redundancy as rd
from redundancy.pid.result import ATOMS

PAIRS = (("early", "middle"), ("middle", "late"), ("early", "late"))


def layers(n: int, rng: np.random.Generator) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """States (n, 16) of three layers, and two labels (n,)."""
    shape, colour = rng.integers(3, size=n), rng.integers(2, size=n)
    directions = np.linalg.qr(rng.standard_normal((16, 16)))[0]

    def state(colour_weight: float, noise: float) -> np.ndarray:
        signal = 2.0 * directions[shape] + colour_weight * directions[3 + colour]
        return signal + noise * rng.standard_normal((n, 16))

    states = {"early": state(2.0, 0.3), "middle": state(0.0, 0.3), "late": state(0.0, 0.1)}
    return states, {"shape": shape, "shape and colour": (shape + colour) % 3}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("figures"))
    out = parser.parse_args().out
    rng = np.random.default_rng(0)
    states, _ = layers(2000, rng)
    book = rd.Codebook.fit(list(states.values()), size=12, rng=0)  # one alphabet, fixed on data of its own
    states, labels = layers(4000, rng)
    codes = {name: book.encode(x) for name, x in states.items()}

    for earlier, later in PAIRS[:2]:
        print(f"H({earlier} | {later}): {rd.informational(codes[earlier], codes[later], size=book.size)}")
    rows = {}
    for label, target in labels.items():
        for earlier, later in PAIRS:
            pid = rd.broja_from_samples(target, codes[earlier], codes[later])
            rows[f"{label}\n{earlier}, {later}"] = [getattr(pid, atom) for atom in ATOMS]
            print(f"{label:17s} {earlier:6s} {later:6s} {pid}")
    draw(rows, out)


def draw(rows: dict[str, list[float]], out: Path) -> None:
    """Stacked bars of the four atoms, one per label and pair of layers."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(9, 4), layout="constrained")
    table, left = np.array(list(rows.values())), np.zeros(len(rows))
    titles = ("in both", "only in the earlier", "only in the later", "in neither alone")
    for column, title in zip(table.T, titles, strict=True):
        axes.barh(list(rows), column, left=left, label=title)
        left = left + column
    axes.invert_yaxis()
    axes.set_xlabel("information about the label (nats)")
    axes.legend(frameon=False, fontsize="small")
    out.mkdir(parents=True, exist_ok=True)
    figure.savefig(out / "pid_on_three_layers.png", dpi=120)
    print(f"figure: {out / 'pid_on_three_layers.png'}")


if __name__ == "__main__":
    main()
