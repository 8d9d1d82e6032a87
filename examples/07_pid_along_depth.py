"""What the layers know about the answer
=====================================

What the embedded model's states tell about its answers: in one state, and in two together and alone.

Usable information is what a linear reader of one state saves. The decomposition says how much of the answer two states'
codewords both tell, only one of them, or only the two together.

::

    python examples/07_pid_along_depth.py --out figures
"""

from __future__ import annotations

import argparse
from pathlib import Path

import vlm
from vlm.datasets import read
from vlm.reports.plots import save_figures


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("figures"))
    parser.add_argument("--model", default="tiny")
    parser.add_argument("--questions", type=int, default=400)
    given = parser.parse_args()
    model, processor = vlm.load(given.model)

    profile = vlm.profile(
        model,
        processor,
        list(read("tiny", limit=given.questions)),
        views="last",
        notions=("informational", "usable information", "pid"),
        readers="linear",
        replicates=10,
        tokens=False,
        batch_size=50,
        progress=False,
    )
    print(profile)
    print(profile.shown(notion="usable information", view="last").text())
    for row in profile.rows(notion="pid").rows():
        if row["method"] == "BROJA: unique to the earlier":
            share = f"{row['value']:.3f} nats, {row['baseline']:.3f} for shuffled answers"
            print(f"states {row['layer']} and {row['later']}: the later one has lost {share}")

    # Which theorems say something about these codewords?
    chain = profile.chain.where(quantity="H(X|Y)")
    useful = [row for row in chain.rows() if row["verdict"] in ("bites", "attained")]
    print(f"{len(useful)} of {len(chain)} bounds on H(earlier | later) are better than H(earlier)")

    drawings = {
        "usable_information_along_depth": lambda ax: vlm.plot_usable_information(ax, profile),
        "pid_along_depth": lambda ax: vlm.plot_pid(ax, profile),
    }
    for path in save_figures(drawings, given.out):
        print(f"figure: {path}")


if __name__ == "__main__":
    main()
