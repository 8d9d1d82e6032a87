"""Where distance-based Fano bites
===============================

Where distance-based Fano is vacuous and where it bites.

Fano bounds H(X | Y) by how often two layers are far apart and how many codewords a ball holds. With few per
ball it says a lot; with many it says little more than the logarithm of the codebook's size. And it is not
monotone: past its peak, feeding it an upper bound on P(far) would certify something false. The map shows the
bound as a share of that logarithm.
"""

import argparse
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np

import bounds
from bounds.worlds.gallery import cyclic_codebook


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("figures"))
    out = parser.parse_args().out
    out.mkdir(parents=True, exist_ok=True)

    size = 10_000
    p = np.linspace(0.0, 1.0, 401)
    inside = np.unique(np.round(np.logspace(0, 4, 81)))
    share = bounds.fano_monotone(p[None, :], size, inside[:, None], inside[:, None]) / np.log(size)

    print(f"codebook of {size} codes, H(X | Y) at most, in nats (log |V| = {np.log(size):.3f}):")
    print("  P(far)  " + "".join(f"N = {n:<8d}" for n in (1, 10, 100, 1000)))
    for far in (0.001, 0.01, 0.028, 0.1, 0.3):
        values = bounds.fano_monotone(far, size, [1, 10, 100, 1000], [1, 10, 100, 1000])
        print(f"  {far:<8g}" + "".join(f"{v:<12.3f}" for v in values))
    # What it buys: the functional gap of a target with |T| <= 1, against decoding directly.
    far = 0.028
    through = bounds.functional_from_fano(far, size, 1, 1, 1.0)
    print(
        f"\nN = 1, P(far) = {far}: gap <= {through:.3f} through Fano, {bounds.functional_from_decoding(far, 1.0):.3f}"
    )
    print("by decoding (Theorem 6), which needs no codebook size")

    # Attained: a circulant codebook meets the published form with equality.
    w = cyclic_codebook(31, 2, 0.2)
    print(f"\ncirculant codebook: H(X | Y) = {w.entropy_x_given_y:.12f}, {bounds.fano.check(w)!r}")

    figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4.4), layout="constrained")
    mesh = left.pcolormesh(p, inside, share, cmap="viridis", shading="nearest", vmin=0, vmax=1)
    left.contour(p, inside, share, levels=[0.25, 0.5, 0.75, 0.95], colors="white", linewidths=0.8)
    left.set(yscale="log", xlabel="P(d > t)", ylabel="codes per ball N", title="bound / log |V|, |V| = 10 000")
    figure.colorbar(mesh, ax=left)
    small = 20
    right.plot(p, bounds.fano(p, small, 5, 5), "--", label="published form (exact P only)")
    right.plot(p, bounds.fano_monotone(p, small, 5, 5), label="monotone form (limits allowed)")
    right.axhline(np.log(small), color="0.6", lw=0.8, label="log |V|")
    right.set(xlabel="P(d > t), or an upper limit of it", ylabel="H(X | Y) at most, nats")
    right.set_title("|V| = 20, N = 5: the published form falls past its peak")
    right.legend(fontsize=8, loc="lower center")
    figure.savefig(out / "05_where_fano_bites.png", dpi=130)
    print(f"\nwrote {out / '05_where_fano_bites.png'}")


if __name__ == "__main__":
    main()
