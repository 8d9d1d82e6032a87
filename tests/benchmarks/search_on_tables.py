"""The planner on the tables of all plans: how close search and certification come to the optimum, and how cheaply.

The images of a table are the population: every repeat draws the search's prompts from it and, independently and
with replacement, those that certify. So true losses are known, and there may be more certification images than
the table has. What the tables lack, mild plans on more than the first 64 prompts, is read from those again.

python -m tests.benchmarks.search_on_tables --folder FOLDER --models tiny tiny-scaled   (FOLDER of exhaustive_plans)
"""

from __future__ import annotations

import argparse
import functools
import time
from pathlib import Path

import numpy as np
from scipy.stats import spearmanr

from tests.benchmarks.exhaustive_plans import PROMISES, PROMPTS
from vlm.planner.certification import certification
from vlm.planner.evidence import BudgetSpent, Evidence, Measured
from vlm.planner.frontier import FLOOR
from vlm.planner.joint_search import Search, SearchSettings
from vlm.planner.layer_actions import actions_of
from vlm.planner.optimizing import _EXPLORING, _children, candidate_plans
from vlm.planner.seed_plans import allowed, shape_seeds
from vlm.plans.plan import SkipPlan

ACTIONS = ("run", "freeze", "remove")
DEPTH = 10
EXHAUSTIVE = 59_049 * PROMPTS


class Judged:
    """KL and changed answers of all plans on the first prompts, and of those near the frontier on all."""

    def __init__(self, folder: Path, model: str) -> None:
        batches = []
        while (path := folder / f"{model}-{len(batches)}.npz").exists():
            data = np.load(path)
            same = np.unpackbits(data["same"], axis=1, count=PROMPTS).astype(bool)
            numbers = data["numbers"] if "numbers" in data else np.arange(len(same))
            batches.append((numbers, data["kl"].astype(np.float32), ~same))
        _, self.first_kl, self.first_changed = batches[0]
        near = functools.reduce(np.intersect1d, [numbers for numbers, _, _ in batches])
        places = [np.searchsorted(numbers, near) for numbers, _, _ in batches]
        self.kl = np.concatenate([kl[p] for (_, kl, _), p in zip(batches, places, strict=True)], axis=1)
        self.changed = np.concatenate([c[p] for (_, _, c), p in zip(batches, places, strict=True)], axis=1)
        self.place = {number: place for place, number in enumerate(near.tolist())}
        self.cost = np.load(Path(__file__).parent / f"plans_{model}.npz")["cost"]

    @functools.cache  # noqa: B019 - lives as long as the process
    def number(self, plan: SkipPlan) -> int:
        """Place of a plan among all."""
        return functools.reduce(lambda n, action: 3 * n + ACTIONS.index(action), actions_of(plan, DEPTH), 0)

    def measure(self, drawn: np.ndarray):
        """Measures plans on some of the prompts."""

        def on(plan: SkipPlan, start: int, stop: int) -> Measured:
            number, prompts = self.number(plan), drawn[start:stop]
            place = self.place.get(number)
            if place is None:
                kl, changed = self.first_kl[number, prompts % PROMPTS], self.first_changed[number, prompts % PROMPTS]
            else:
                kl, changed = self.kl[place, prompts], self.changed[place, prompts]
            return Measured(kl.astype(np.float64), ~changed, changed.astype(np.float64))

        return on

    def truth(self, plan: SkipPlan) -> float:
        """Loss on the population."""
        number = self.number(plan)
        place = self.place.get(number)
        return float((self.first_changed[number] if place is None else self.changed[place]).mean())

    def optimum(self, max_loss: float) -> float:
        """Cost of the cheapest plan truly within a promise."""
        numbers = np.array(list(self.place))
        return float(self.cost[numbers[self.changed.mean(axis=1) <= max_loss]].min())


def repeat(
    judged: Judged, max_loss: float, *, searching: int, certifying: int, forwards: int, candidates: int, seed: int
) -> tuple[float, float, int]:
    """Cost and true loss of the certified plan, and question-forwards; the full model's if none is certified."""
    rng = np.random.default_rng(seed)
    # The first prompts are those on which all plans are known.
    rest = rng.permutation(np.arange(PROMPTS, judged.changed.shape[1]))
    drawn = np.concatenate([rng.permutation(PROMPTS), rest])[:searching]

    def spent(count: int) -> None:
        if count >= (1.0 if search.refining else _EXPLORING) * forwards:
            raise BudgetSpent

    evidence = Evidence(judged.measure(drawn), searching, "search", spent=spent)
    settings = SearchSettings(ACTIONS, max_loss=max_loss, children=_children(forwards))
    search = Search(evidence, lambda plan: float(judged.cost[judged.number(plan)]), DEPTH, settings)
    found = search.run(allowed(shape_seeds(DEPTH, ACTIONS, ()), ACTIONS, (), DEPTH))
    certify = Evidence(
        judged.measure(rng.integers(judged.changed.shape[1], size=certifying)), certifying, "certification"
    )
    tested = certification(
        candidate_plans(found, max_loss, candidates),
        certify,
        np.arange(certifying),
        max_loss=max_loss,
        alpha=0.05,
        support=(0.0, 1.0),
        binary=True,
    )
    good = [test.candidate for test in tested if test.certified]
    used = evidence.forwards + certify.forwards + searching + certifying
    return (good[-1].cost, judged.truth(good[-1].plan), used) if good else (1.0, 0.0, used)


def orders(judged: Judged, questions: int, *, draws: int = 100) -> dict[str, float]:
    """Mean Spearman correlation of what some questions say of plans that lose less than 0.06 with their true loss."""
    rng = np.random.default_rng(0)
    truth = judged.changed.mean(axis=1)
    near = truth < 0.06
    found: dict[str, list[float]] = {}
    for _ in range(draws):
        drawn = rng.permutation(judged.changed.shape[1])[:questions]
        kl, changed = judged.kl[near][:, drawn].astype(np.float64), judged.changed[near][:, drawn]
        said = {
            "arithmetic mean of KL": kl.mean(axis=1),
            "geometric mean": np.log(kl + FLOOR).mean(axis=1),
            "changed answers": changed.mean(axis=1),
        }
        for name, values in said.items():
            value = spearmanr(values, truth[near]).statistic if np.ptp(values) else 0.0
            found.setdefault(name, []).append(float(value))
    return {name: float(np.mean(values)) for name, values in found.items()}


def main() -> None:
    """Print a row per model and promise."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--models", nargs="+", default=["tiny", "tiny-scaled"])
    parser.add_argument("--folder", type=Path, required=True, help="batches of exhaustive_plans")
    parser.add_argument("--repeats", type=int, default=10)
    parser.add_argument("--search", type=int, default=512, help="images for the search")
    parser.add_argument("--certification", type=int, nargs=3, default=(4096, 3072, 2560), help="images by promise")
    parser.add_argument("--forwards", type=int, default=45_000, help="budget of the search")
    parser.add_argument("--candidates", type=int, default=8)
    parser.add_argument("--orders", action="store_true", help="print what orders plans on few questions, and no search")
    options = parser.parse_args()
    if options.orders:
        for model in options.models:
            for questions in (8, 16, 32, 128):
                print(
                    model,
                    questions,
                    {name: f"{value:.2f}" for name, value in orders(Judged(options.folder, model), questions).items()},
                )
        return
    print(
        "model | promise | optimum | certified cost, mean and worst ratio | true loss, mean and largest | broken | "
        "forwards | share of exhaustive | CPU s"
    )
    for model in options.models:
        judged = Judged(options.folder, model)
        for max_loss, certifying in zip(PROMISES, options.certification, strict=True):
            start = time.process_time()
            settings = dict(
                searching=options.search,
                certifying=certifying,
                forwards=options.forwards,
                candidates=options.candidates,
            )
            rows = np.array([repeat(judged, max_loss, **settings, seed=seed) for seed in range(options.repeats)])
            best, (cost, loss, used) = judged.optimum(max_loss), rows.T
            print(
                f"{model} | {max_loss} | {best:.4f} | {cost.mean():.4f}, {cost.mean() / best:.3f}, "
                f"{cost.max() / best:.3f} | {loss.mean():.4f}, {loss.max():.4f} | {(loss > max_loss).sum()} of "
                f"{len(rows)} | {used.mean():,.0f} | {used.mean() / EXHAUSTIVE:.2%} | "
                f"{(time.process_time() - start) / len(rows):.1f}",
                flush=True,
            )


if __name__ == "__main__":
    main()
