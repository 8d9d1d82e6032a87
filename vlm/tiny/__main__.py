"""Accuracy of an embedded model from the command line: ``python -m vlm.tiny``."""

from __future__ import annotations

import argparse

from scipy.stats import binomtest

from vlm.engine.planned_loading import load
from vlm.tiny.evaluate import accuracy_by_kind, chance_by_kind, correct
from vlm.tiny.question_writer import questions


def main(arguments: list[str] | None = None) -> None:
    """Print accuracy, accuracy with blank images and chance per kind of question, with 95% Clopper-Pearson limits."""
    parser = argparse.ArgumentParser(
        prog="python -m vlm.tiny",
        description="Accuracy per kind on digits that training never saw.",
        epilog="example: python -m vlm.tiny --model tiny --limit 6000",
    )
    parser.add_argument("--model", default="tiny", help="an embedded model, or a folder that training wrote")
    parser.add_argument("--limit", type=int, default=1200, help="number of questions")
    parser.add_argument("--split", default="test", choices=("train", "validation", "test"))
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(arguments)
    model, processor = load(options.model)
    asked = questions(split=options.split, limit=options.limit, seed=options.seed)
    right = correct(model, processor, asked)
    blank = accuracy_by_kind(asked, correct(model, processor, asked, blank=True))
    chance = chance_by_kind(asked)
    print(f"{options.model}, {options.split} split, seed {options.seed}, {len(asked)} questions")
    print(f"{'kind':<12}{'n':>6}{'accuracy':>10}  {'95% interval':<16}{'blank':>7}{'chance':>8}")
    for kind, mean in accuracy_by_kind(asked, right).items():
        # Questions of one kind are about different scenes and hence independent. Of all image questions, five share
        # a scene, so a binomial interval would not hold.
        own = [r for q, r in zip(asked, right, strict=True) if q.kind == kind or (kind == "image" and q.image)]
        limits = "-"
        if kind != "image":
            low, high = binomtest(int(sum(own)), len(own)).proportion_ci(0.95, method="exact")
            limits = f"[{low:.3f}, {high:.3f}]"
        print(f"{kind:<12}{len(own):>6}{mean:>10.3f}  {limits:<16}{blank[kind]:>7.3f}{chance[kind]:>8.3f}")


if __name__ == "__main__":
    main()
