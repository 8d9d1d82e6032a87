"""The committed tables of all plans of an embedded model, as populations: repeats of a promise, sample sizes, limits.

The images of a table are the population; drawing them with replacement gives samples whose true loss is known.

python -m tests.benchmarks.plan_tables
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from scipy.stats import binom

from bounds import confidence as limits
from tests.benchmarks.exhaustive_plans import digits_of, plan_of
from vlm.planner.certification import certification, images_for, loss_limit
from vlm.planner.evidence import Evidence, Measured
from vlm.planner.frontier import Scored, frontier
from vlm.planner.optimizing import candidate_plans
from vlm.plans.plan import SkipPlan

Cheat = Literal["order", "same images"]
FOLDER = Path(__file__).parent
DEPTH = 10
ALPHA = 0.05


@dataclass(frozen=True, eq=False)
class PlanTable:
    """Plans that were judged on all images of a table.

    Attributes
    ----------
    plans : list of SkipPlan
    cost : ndarray (plans,)
        Operations over those of the full model.
    changed : ndarray of bool (plans, images)
        Whether the answer differs from the full model's; one question per image.
    """

    plans: list[SkipPlan]
    cost: np.ndarray
    changed: np.ndarray

    @property
    def truth(self) -> np.ndarray:
        """Loss of each plan on the population."""
        return np.asarray(self.changed.mean(axis=1))

    def optimum(self, max_loss: float) -> float:
        """Cost of the cheapest plan truly within a promise."""
        return float(self.cost[self.truth <= max_loss].min())


def read_table(model: str, *, all_plans: bool = False) -> PlanTable:
    """The table of an embedded model: its plans near the promises on all images, or all plans on the first 64.

    Of all plans those that change more than 8 answers are left out, and of those that change the same answers all but
    the cheapest.
    """
    data = np.load(FOLDER / f"plans_{model}.npz")
    name = "distinct" if all_plans else "last"
    images = int(data["prompts"] if all_plans else data["near_prompts"].max())
    numbers = data[name].astype(int)
    plans = [plan_of(digits_of(number, DEPTH)) for number in numbers.tolist()]
    same = np.unpackbits(data[f"{name}_same"], axis=1, count=images).astype(bool)
    return PlanTable(plans, data["cost"][numbers].astype(float), ~same)


def broken_promises(
    table: PlanTable,
    max_loss: float,
    *,
    cheat: Cheat | None = None,
    repeats: int = 200,
    searching: int = 64,
    certifying: int = 768,
    seed: int = 0,
) -> tuple[int, float]:
    """In how many repeats the returned plan loses more than promised, and the mean cost of what is returned.

    Every repeat draws its own images for the search and for certification. The search takes the frontier of what it
    sees. Two cheats: "order" takes the cheapest of all plans that the certification images certify, each for itself, so
    it chooses by them; "same images" certifies on the images of the search.
    """
    rng = np.random.default_rng(seed)
    images = table.changed.shape[1]
    most = largest_count(max_loss, certifying)
    by_name = {str(plan): place for place, plan in enumerate(table.plans)}
    truth = table.truth
    broken, costs = 0, []
    for _ in range(repeats):
        search, certify = rng.integers(images, size=searching), rng.integers(images, size=certifying)
        if cheat == "same images":
            certify = search[rng.integers(searching, size=certifying)]
        chosen: int | None
        if cheat == "order":
            fine = np.flatnonzero(table.changed[:, certify].sum(axis=1) <= most)
            chosen = int(fine[np.argmin(table.cost[fine])]) if len(fine) else None
        else:
            seen = table.changed[:, search].mean(axis=1)
            scored = [
                Scored(plan, cost, loss, loss, searching)
                for plan, cost, loss in zip(table.plans, table.cost.tolist(), seen.tolist(), strict=True)
            ]
            candidates = candidate_plans(frontier(scored), max_loss, 20)
            losses = {str(c.plan): table.changed[by_name[str(c.plan)], certify].astype(np.float64) for c in candidates}
            tested = certification(
                candidates,
                evidence(losses, certifying),
                np.arange(certifying),
                max_loss=max_loss,
                alpha=ALPHA,
                support=(0.0, 1.0),
                binary=True,
            )
            good = [by_name[str(test.candidate.plan)] for test in tested if test.certified]
            chosen = good[-1] if good else None
        broken += chosen is not None and bool(truth[chosen] > max_loss)
        costs.append(1.0 if chosen is None else table.cost[chosen])
    return int(broken), float(np.mean(costs))


def evidence(losses: dict[str, np.ndarray], size: int) -> Evidence:
    """Plans with given losses of each question."""

    def measure(plan: SkipPlan, start: int, stop: int) -> Measured:
        values = losses[str(plan)][start:stop]
        return Measured(values, values == 0, values)

    return Evidence(measure, size, "certification")


def largest_count(max_loss: float, images: int) -> int:
    """Most changed answers with which a plan is certified; -1 if no number is few enough."""
    count = -1
    while loss_limit(np.arange(images) < count + 1, ALPHA, (0.0, 1.0), binary=True) <= max_loss:
        count += 1
    return count


def missed_limits(rates: np.ndarray, images: int, draws: int, seed: int = 0) -> np.ndarray:
    """In how many fresh draws the exact limit of one question per image lies below the true loss (rates,)."""
    rng = np.random.default_rng(seed)
    of_count = np.array(
        [
            limits.upper_limit(np.arange(images) < k, alpha=ALPHA, method="clopper-pearson", support=(0.0, 1.0))
            for k in range(int(images * max(rates)) + 60)
        ]
    )
    counts = rng.binomial(images, rates[:, None], size=(len(rates), draws))
    return np.asarray((of_count[np.minimum(counts, len(of_count) - 1)] < rates[:, None]).sum(axis=1))


def certified_share(rate: float, max_loss: float, images: int) -> float:
    """Probability that a plan of a true loss is certified with so many images."""
    return float(binom.cdf(largest_count(max_loss, images), images, rate))


def images_needed_exactly(rate: float, max_loss: float, power: float = 0.8) -> int:
    """Fewest images with which the plan is certified with this probability, and with all larger numbers up to 10% more.

    The probability is a saw-tooth in the number of images, so that its first tooth is no promise.
    """
    images = 10
    while True:
        following = range(images, images + max(images // 10, 2), max(images // 100, 1))
        shares = [certified_share(rate, max_loss, n) for n in following]
        if min(shares) >= power:
            return images
        images = following[int(np.flatnonzero(np.array(shares) < power)[-1])] + max(images // 100, 1)


def main() -> None:
    """Print the tables of the page."""
    for model in ("tiny", "tiny-scaled"):
        table = read_table(model)
        print(f"{model}: {len(table.plans)} plans on {table.changed.shape[1]:,} images")
        for max_loss in (0.01, 0.02, 0.05):
            honest, cost = broken_promises(table, max_loss)
            order, _ = broken_promises(table, max_loss, cheat="order")
            same, cheap = broken_promises(table, max_loss, cheat="same images")
            print(
                f"  promise {max_loss}: broken in {honest} of 200 repeats (mean cost {cost:.3f}), in {order} by "
                f"choosing by the certification images, in {same} by certifying on those of the search ({cheap:.3f}); "
                f"cheapest plan truly within {table.optimum(max_loss):.3f}"
            )
            rates = sorted({float(r) for r in table.truth if 0 < r <= 0.6 * max_loss})
            for rate in rates[:: max(1, len(rates) // 2)][:3]:
                asked = images_for(max_loss, rate, confidence=1 - ALPHA, binary=True)
                assert asked is not None
                print(
                    f"    a plan that loses {rate:.4f}: {asked:,} images asked, "
                    f"{images_needed_exactly(rate, max_loss):,} needed; certified with "
                    f"{certified_share(rate, max_loss, asked):.0%} probability"
                )
        every = read_table(model, all_plans=True)
        for max_loss in (0.045, 0.06):
            just = ((every.truth > max_loss) & (every.truth <= 1.2 * max_loss)).sum()
            rows = [broken_promises(every, max_loss, cheat=cheat, certifying=300) for cheat in (None, "order")]
            print(
                f"  all plans, {len(every.plans)} sets of changed answers, {just} up to a fifth above a promise of "
                f"{max_loss} on 300 images: broken in {rows[0][0]} of 200 repeats, in {rows[1][0]} by choosing by the "
                "certification images"
            )
        rates = np.unique(table.truth[(table.truth > 0) & (table.truth < 0.1)])
        missed = missed_limits(rates, 768, 10_000)
        print(
            f"  exact limit below the truth: at most {missed.max() / 10_000:.2%} of 10,000 draws ({len(rates)} rates)"
        )


if __name__ == "__main__":
    main()
