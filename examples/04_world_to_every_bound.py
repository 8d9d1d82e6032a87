"""From one finite instance to every bound
=======================================

From one synthetic world to every bound: the truth, the limits that follow, and by which statement.

Forty codes lie on a circle. The later layer moves a state to a neighbouring code with some probability,
the task asks on which half of the circle the earlier state lies. The world knows its exact errors, entropies and
distances; each panel compares one truth with the limits that theorems derive from other truths.
"""

import argparse
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np

import bounds
from bounds.worlds.finite import FiniteWorld
from bounds.worlds.gallery import circle


def world(move, codes=40):
    """X uniform on a codebook, Y the same code or (probability `move`) one of its two neighbours."""
    points = circle(2 * np.pi * np.arange(codes) / codes)
    kernel = (1 - move) * np.eye(codes) + 0.5 * move * (np.eye(codes, k=1) + np.eye(codes, k=-1))
    kernel[0, -1] = kernel[-1, 0] = 0.5 * move
    label = np.stack([np.arange(codes) < codes // 2, np.arange(codes) >= codes // 2]).astype(float)
    pmf = label[:, :, None] * kernel / codes
    step = 1 - np.cos(2 * np.pi / codes)
    return FiniteWorld(pmf, np.array([[1.0], [-1.0]]), points, points, threshold=0.5 * step)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("figures"))
    out = parser.parse_args().out
    out.mkdir(parents=True, exist_ok=True)

    w = world(0.1)
    counts = (~w.far).sum(axis=0)
    derived = bounds.implications(
        chain="T-X-Y",
        t=w.threshold,
        p_far=w.p_far,
        size=len(w.x_points),
        n_min=counts.min(),
        n_max=counts.max(),
        radius=w.radius,
        lipschitz_x=w.lipschitz_x,
    )
    print(derived)
    print(f"\ntruth: E d = {w.geometric:.5f}, H(X | Y) = {w.entropy_x_given_y:.4f} nats, mmse gap = {-w.gap:.4f}\n")

    # Every statement about such worlds, both sides.
    rows = []
    for theorem in bounds.THEOREMS:
        if theorem.family.kind is FiniteWorld and theorem.relation == "<=" and "mmse" in theorem.left:
            try:
                check = theorem.check(w)
            except bounds.AssumptionError as reason:
                print(f"left out: {reason}")
                continue
            # Of a two-sided statement, the side on which something is lost.
            rows.append((theorem.name, float(check.right[check.left.argmax()])))
    rows.sort(key=lambda row: row[1])
    for name, value in rows:
        print(f"{value:10.4f}  {name}")

    moves = np.linspace(0.005, 0.3, 30)
    worlds = [world(m) for m in moves]
    gap = np.array([-v.gap for v in worlds])
    p_far = np.array([v.p_far for v in worlds])
    routes = {
        "decoding (Theorem 6)": bounds.functional_from_decoding(p_far, 1.0),
        "information (Theorem 5)": bounds.functional_from_information([v.information_tx_given_y for v in worlds], 1.0),
        "entropy (Theorem 5)": bounds.functional_from_entropy([v.entropy_x_given_y for v in worlds], 1.0),
        "entropy as in the paper": bounds.functional_from_entropy_linear([v.entropy_x_given_y for v in worlds], 1.0),
        "Fano, then entropy": bounds.functional_from_fano(p_far, 40, 1, 1, 1.0),
    }
    figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4.4), layout="constrained")
    left.plot(moves, gap, color="black", lw=2.5, label="truth")
    for name, values in routes.items():
        left.plot(moves, values, label=name)
    left.set(xlabel="probability of moving to a neighbour", ylabel="mmse(T | Y) - mmse(T | X)", yscale="log")
    left.set_title("One gap, five limits")
    left.legend(fontsize=8)
    names = [name for name, _ in rows][:14]
    right.barh(names, [value for _, value in rows][:14], color="#7aa6c9")
    right.axvline(-w.gap, color="black", label="truth of the functional gap")
    right.set(xscale="log", title="The tightest statements at 10%")
    right.tick_params(axis="y", labelsize=7)
    right.invert_yaxis()
    right.legend(fontsize=8)
    figure.savefig(out / "04_world_to_every_bound.png", dpi=130)
    print(f"\nwrote {out / '04_world_to_every_bound.png'}")


if __name__ == "__main__":
    main()
