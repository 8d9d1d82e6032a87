"""What a recording of moments consists of on the host: settings, pilots and exact sums, and how recordings merge."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace

import numpy as np

from redundancy.array_types import FloatArray, IntArray
from vlm.hidden_states.moment_alignment import AlignmentSums
from vlm.hidden_states.moment_calls import Modality
from vlm.hidden_states.moment_exact import ExactSum
from vlm.hidden_states.moment_sums import MomentSums

Pair = tuple[int, int]
# Keys (modality, fold, state or pair).
StateKey = tuple[Modality, int, int]
PairKey = tuple[Modality, int, Pair]
Sums = tuple[ExactSum, ...]


@dataclass(frozen=True)
class MomentSettings:
    """What must agree between recordings that are merged.

    Attributes
    ----------
    model, plan : str
        Fingerprint of the weights, and the plan under which they ran.
    pairs : tuple of (int, int)
        States l < m that are compared.
    modalities : tuple of str
        "vision", "text" or both.
    folds, depth, width : int
        Folds, decoder layers, entries of a state.
    project, seed : int or None, int
        Width of the projected input side (None: not projected), and the seed of its directions.
    normalise : bool
        Whether states were divided by their norms.
    precision : str
        Of the products.
    """

    model: str
    plan: str
    pairs: tuple[Pair, ...]
    modalities: tuple[Modality, ...]
    folds: int
    depth: int
    width: int
    project: int | None
    seed: int
    normalise: bool
    precision: str

    @property
    def states(self) -> tuple[int, ...]:
        """The states in any pair."""
        return tuple(sorted({state for pair in self.pairs for state in pair}))

    @property
    def rank(self) -> int:
        """Columns of the input side."""
        return self.width if self.project is None else self.project

    def basis(self) -> FloatArray | None:
        """The orthonormal rows (project, width) of the projection, drawn from the seed."""
        return None if self.project is None else orthonormal_rows(self.project, self.width, self.seed)


def orthonormal_rows(k: int, d: int, seed: int) -> FloatArray:
    """k random orthonormal directions in d dimensions (k, d), a function of the seed alone."""
    q, r = np.linalg.qr(np.random.default_rng(seed).normal(size=(d, k)))
    return np.ascontiguousarray((q * np.sign(np.diag(r))).T)


@dataclass(frozen=True, eq=False)
class MomentStore:
    """Sums of a recording, as they are added, merged and written.

    Attributes
    ----------
    settings : MomentSettings
        What must agree between stores that merge.
    prompts, tokens : ndarray (modalities, folds)
        Numbers of prompts and tokens.
    left_out : ndarray (modalities,)
        Prompts that are in no sum.
    images : tuple of ndarray, or None
        Sorted keys of the images of each fold, if they were announced.
    pilots : mapping (modality, state) -> ndarray (d,)
        The shift of each state.
    states : mapping (modality, fold, state) -> sums
        Those of `Geometry.state_shapes`.
    pairs : mapping (modality, fold, pair) -> sums
        Those of `Geometry.pair_shapes`.
    """

    settings: MomentSettings
    prompts: IntArray
    tokens: IntArray
    left_out: IntArray
    images: tuple[IntArray, ...] | None
    pilots: Mapping[tuple[Modality, int], FloatArray]
    states: Mapping[StateKey, Sums]
    pairs: Mapping[PairKey, Sums]

    def folds(self, pair: Pair, modality: Modality) -> tuple[MomentSums, ...]:
        """The sums of a pair of layers in each fold."""
        basis = self.settings.basis()
        return tuple(self._fold(*pair, modality, fold, basis) for fold in range(self.settings.folds))

    def _fold(self, a: int, b: int, modality: Modality, fold: int, basis: FloatArray | None) -> MomentSums:
        s, place = self.settings, self.settings.modalities.index(modality)
        n = int(self.prompts[place, fold])
        d, k = s.width, s.rank
        x_outer, x_between, x_small = (part.value for part in self.states[modality, fold, a])
        y_outer, y_between, y_small = (part.value for part in self.states[modality, fold, b])
        *crosses, between, small = (part.value for part in self.pairs[modality, fold, (a, b)])
        uy = crosses[0]
        vx, uv = (uy.T, uy) if basis is None else crosses[1:]
        own_x, own_y = (
            _own_alignment(n, *part)
            for part in (
                (x_outer if basis is None else x_outer @ basis.T, x_between, x_small, d, k, basis),
                (y_outer if basis is None else y_outer @ basis.T, y_between, y_small, d, k, basis),
            )
        )
        mixed_a, mixed_b, cubic_a, cubic_b, rest = np.split(small, [k, 2 * k, 3 * k, 4 * k])
        return MomentSums(
            prompts=n,
            tokens=int(self.tokens[place, fold]),
            shift_x=self.pilots[modality, a],
            shift_y=self.pilots[modality, b],
            basis=basis,
            x=x_small[:d],
            y=y_small[:d],
            ux=x_outer,
            uy=uy,
            vx=vx,
            vy=y_outer,
            square_x=float(x_small[d + 2 * k]),
            square_y=float(y_small[d + 2 * k]),
            square_step=float(rest[0]),
            alignment_x=own_x,
            alignment_y=own_y,
            alignment=AlignmentSums(
                n=n,
                a=own_x.a,
                b=own_y.a,
                product=uv,
                between=between,
                mixed_a=mixed_a,
                mixed_b=mixed_b,
                cubic_a=cubic_a,
                cubic_b=cubic_b,
                square_a=own_x.square_a,
                square_b=own_y.square_a,
                square_ab=float(rest[3]),
                own=float(rest[1]),
                triple=float(rest[2]),
            ),
        )

    def about(self, pilots: Mapping[tuple[Modality, int], FloatArray]) -> MomentStore:
        """The same sums about other shifts, in float64; states that `pilots` lacks keep theirs."""
        same = all(np.array_equal(pilots.get(key, pilot), pilot) for key, pilot in self.pilots.items())
        if same:
            return self
        basis = self.settings.basis()
        states: dict[StateKey, Sums] = {}
        pairs: dict[PairKey, Sums] = {}
        for modality, fold, pair in self.pairs:
            shifts = [pilots.get((modality, state), self.pilots[modality, state]) for state in pair]
            moved = self._fold(*pair, modality, fold, basis).about(*shifts)
            states[modality, fold, pair[0]] = _packed_state(moved)
            states[modality, fold, pair[1]] = _packed_state(moved.reversed())
            pairs[modality, fold, pair] = _packed_pair(moved)
        new = {key: pilots.get(key, pilot) for key, pilot in self.pilots.items()}
        return replace(self, pilots=new, states=states, pairs=pairs)


def _own_alignment(
    n: int, product: FloatArray, between: FloatArray, small: FloatArray, d: int, k: int, basis: FloatArray | None
) -> AlignmentSums:
    mean, mixed, cubic, rest = np.split(small, [d, d + k, d + 2 * k])
    projected = mean if basis is None else basis @ mean
    return AlignmentSums(
        n=n,
        a=projected,
        b=projected,
        product=(product + product.T) / 2.0,
        between=between,
        mixed_a=mixed,
        mixed_b=mixed,
        cubic_a=cubic,
        cubic_b=cubic,
        square_a=float(rest[3]),
        square_b=float(rest[3]),
        square_ab=float(rest[4]),
        own=float(rest[1]),
        triple=float(rest[2]),
    )


def _packed_state(sums: MomentSums) -> Sums:
    own = sums.alignment_x
    rest = [sums.square_x, own.own, own.triple, own.square_a, own.square_ab]
    small = np.concatenate([sums.x, own.mixed_a, own.cubic_a, rest])
    return tuple(ExactSum.of(part) for part in (sums.ux, own.between, small))


def _packed_pair(sums: MomentSums) -> Sums:
    both = sums.alignment
    rest = [sums.square_step, both.own, both.triple, both.square_ab]
    small = np.concatenate([both.mixed_a, both.mixed_b, both.cubic_a, both.cubic_b, rest])
    crosses = [sums.uy] if sums.basis is None else [sums.uy, sums.vx, both.product]
    return tuple(ExactSum.of(part) for part in (*crosses, both.between, small))


def merged(stores: tuple[MomentStore, ...]) -> MomentStore:
    """One store of all prompts, about the pilots of the first that has each."""
    first = stores[0]
    for other in stores[1:]:
        _check_together(first, other)
    pilots: dict[tuple[Modality, int], FloatArray] = {}
    for store in stores:
        pilots = {**store.pilots, **pilots}
    states: dict[StateKey, Sums] = {}
    pairs: dict[PairKey, Sums] = {}
    for store in stores:
        moved = store.about(pilots)
        for state, sums in moved.states.items():
            states[state] = _added(states.get(state), sums)
        for pair, sums in moved.pairs.items():
            pairs[pair] = _added(pairs.get(pair), sums)
    images = None if first.images is None else _images(stores)
    prompts, tokens, left_out = (
        np.asarray(sum(getattr(store, name) for store in stores)) for name in ("prompts", "tokens", "left_out")
    )
    return MomentStore(first.settings, prompts, tokens, left_out, images, pilots, states, pairs)


def _added(total: Sums | None, sums: Sums) -> Sums:
    return sums if total is None else tuple(a + b for a, b in zip(total, sums, strict=True))


def _images(stores: tuple[MomentStore, ...]) -> tuple[IntArray, ...]:
    keys = [store.images for store in stores if store.images is not None]
    return tuple(np.unique(np.concatenate(fold)) for fold in zip(*keys, strict=True))


def _check_together(first: MomentStore, other: MomentStore) -> None:
    for f in fields(MomentSettings):
        a, b = getattr(first.settings, f.name), getattr(other.settings, f.name)
        if a != b:
            raise ValueError(f"merge: expected recordings of one {f.name}, got {_brief(a)} and {_brief(b)}")
    if (first.images is None) != (other.images is None):
        raise ValueError(
            "merge: expected recordings that all announced their images or all did not, got both kinds; without "
            "labels an image could be split between folds"
        )


def _brief(value: object) -> str:
    text = str(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
