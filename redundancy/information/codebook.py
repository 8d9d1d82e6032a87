"""A finite alphabet for hidden states, fixed on data of its own and shared by the layers that are compared.

Only the direction of a state matters: codewords, distances and radii are on the unit sphere (of the projected states,
for a product codebook). Theorems 3 and 4 need the alphabet to be chosen before the data they are applied to.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from types import ModuleType
from typing import Literal, get_args

import numpy as np
from numpy.typing import ArrayLike

from redundancy import checks
from redundancy.array_conversion import as_numpy, is_tensor
from redundancy.array_types import AnyArray, FloatArray, IntArray, Rng
from redundancy.display import Displayed, plain
from redundancy.optional_imports import optional_import

CHUNK = 65_536  # rows encoded at once
LARGEST_TABLE = 20_000  # codewords up to which all pairwise distances are held at once
CodeDistance = Literal["angular", "cosine", "chordal"]
FitMethod = Literal["kmeans", "product"]


@dataclass(frozen=True, eq=False, repr=False)
class Codebook(Displayed):
    """A finite alphabet of unit vectors that maps each state to the codeword closest in angle.

    Parameters
    ----------
    centres : ndarray (size, d)
        Unit vectors: the alphabet V of D6, in the projected space for a product codebook.
    projection : ndarray (d_state, d), optional
        Random projection applied to states first (product codebooks).
    parts : int
        Number of parts encoded separately; 1 except for product codebooks. A codeword is then the number whose
        digits are the codewords of the parts.
    settings : mapping
        How the codebook was made.

    Attributes
    ----------
    centres, projection, parts, settings
        As given.

    See Also
    --------
    informational : H(X | Y) of codewords.

    Notes
    -----
    Fit it on data that is not used afterwards: Theorems 3 and 4 and the certificates of entropies need an alphabet
    that was fixed in advance. Codewords are earlier given later: H(q(X) | q(Y)) (theory, section 7.6).

    References
    ----------
    Jégou, Douze and Schmid (2011), *Product quantization for nearest neighbor search*.

    Examples
    --------
    >>> import numpy as np
    >>> import redundancy as rd
    >>> book = rd.Codebook.from_centres([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0]])
    >>> book.encode(np.array([[3.0, 0.1], [-0.2, 5.0]]))
    array([0, 1])
    >>> book.distances("angular").round(2)
    array([[0.  , 1.57, 3.14],
           [1.57, 0.  , 1.57],
           [3.14, 1.57, 0.  ]])
    >>> states = np.random.default_rng(0).normal(size=(500, 8))
    >>> rd.Codebook.fit(states, size=16, rng=0)
    Codebook(16 codewords in 8 dimensions; method=kmeans, rows=500)
    """

    centres: FloatArray = field(repr=False)
    projection: FloatArray | None = field(default=None, repr=False)
    parts: int = 1
    settings: Mapping[str, object] = field(default_factory=dict)

    @classmethod
    def fit(
        cls,
        states: ArrayLike | Sequence[ArrayLike],
        *,
        size: int = 256,
        method: FitMethod = "kmeans",
        parts: int = 2,
        dimensions: int | None = None,
        rng: Rng = None,
    ) -> Codebook:
        """Fit on states (n, d), or on a list of several layers' states, of data that is not used afterwards.

        Parameters
        ----------
        states : array_like (n, d) or list of them
            NumPy, torch or nested lists. Pass both layers: the alphabet is shared. A list of rows is one layer; only a
            list of matrices is a list of layers.
        size : int
            Number of codewords. For method="product" each part has size ** (1 / parts) codewords, which
            must be a whole number.
        method : {"kmeans", "product"}
            "kmeans": mini-batch k-means on the sphere. "product": a random projection to `dimensions` columns, cut
            into `parts`, each with its own k-means: large alphabets at little cost.
        parts, dimensions : int
            Product only; dimensions (default 8 per part) is a multiple of parts.
        rng : Generator, int or None
            Initial centres, mini-batches and the projection.

        Returns
        -------
        Codebook
            With `size` codewords.

        Raises
        ------
        ValueError
            Fewer rows than codewords, zero or non-finite rows, layers of different width, a size that is not a
            power of the parts' size.
        """
        checks.one_of(method, get_args(FitMethod), name="method")
        unit = _of_all_layers(states)
        size = checks.integer(size, name="size", least=1)
        if unit.shape[0] < size:
            raise ValueError(f"size: expected 1 to {unit.shape[0]} codewords (the rows given), got {size}")
        generator = checks.generator(rng)
        settings: dict[str, object] = {"method": method, "size": size, "rows": unit.shape[0]}
        if method == "kmeans":
            if parts != 2 or dimensions is not None:
                raise ValueError("parts and dimensions: expected with method='product' only, got method='kmeans'")
            return cls(_spherical_means(unit, size, generator), settings=settings)
        parts = checks.integer(parts, name="parts", least=2)
        each = round(size ** (1.0 / parts))
        if each**parts != size:
            raise ValueError(f"size: expected a whole number to the power parts = {parts} >= 2, got {size}")
        width = 8 * parts if dimensions is None else checks.integer(dimensions, name="dimensions", least=1)
        if width % parts:
            raise ValueError(f"dimensions: expected a multiple of parts = {parts}, got {width}")
        projection = generator.standard_normal((unit.shape[1], width)) / np.sqrt(width)
        pieces = np.split(_normalised(unit @ projection), parts, axis=1)
        means = [_means(piece, each, generator) for piece in pieces]
        grid = np.indices((each,) * parts).reshape(parts, -1)
        centres = _normalised(np.hstack([m[i] for m, i in zip(means, grid, strict=True)]))
        return cls(centres, projection, parts, {**settings, "parts": parts, "dimensions": width})

    @classmethod
    def from_centres(cls, centres: ArrayLike) -> Codebook:
        """The codebook with given directions (size, d) as codewords; they are normalised."""
        unit = _directions(centres, name="centres")
        return cls(unit, settings={"method": "given", "size": len(unit)})

    def __repr__(self) -> str:
        size, width = self.centres.shape
        settings = ", ".join(f"{key}={value}" for key, value in self.settings.items() if key != "size")
        return f"Codebook({size} codewords in {width} dimensions{'; ' + settings if settings else ''})"

    @property
    def size(self) -> int:
        """Number of codewords, |V|."""
        return int(self.centres.shape[0])

    def encode(self, states: AnyArray, *, chunk: int = CHUNK) -> IntArray:
        """Codewords (n,) in 0..size-1 of states (n, d), NumPy or torch, computed `chunk` rows at a time."""
        parts = [code for code, _ in self._nearest(states, chunk)]
        return np.concatenate(parts)

    def decode(self, codes: ArrayLike) -> FloatArray:
        """Centres (n, d) of codewords (n,)."""
        return self.centres[self._codes(codes)]

    def angular_radius(self, states: AnyArray, *, chunk: int = CHUNK) -> float:
        """The largest angle rho, in radians, between any of the states and its centre.

        For states within rho of their centres, P(angle(q(X), q(Y)) > tau + 2 rho) <= P(angle(X, Y) > tau)
        (theory, section 5). It is the maximum over these rows, not over all possible ones.
        """
        worst = min(float(score.min()) for _, score in self._nearest(states, chunk))
        return float(np.arccos(np.clip(worst, -1.0, 1.0)))

    def distances(self, distance: CodeDistance = "cosine") -> FloatArray:
        """Distances between all codewords (size, size): "cosine" and "chordal" in [0, 2], "angular" in [0, pi]."""
        check_code_distance(distance)
        if self.size > LARGEST_TABLE:
            raise ValueError(
                f"distances: expected at most {LARGEST_TABLE} codewords, got {self.size}, which is too large a table"
            )
        chord = self._chords
        if distance == "chordal":
            return chord
        return 0.5 * chord**2 if distance == "cosine" else 2.0 * np.arcsin(np.minimum(0.5 * chord, 1.0))

    def ball_counts(self, radius: float, *, distance: CodeDistance = "cosine") -> IntArray:
        """N(y) (size,): how many codewords are within `radius` of each codeword, itself included (D6)."""
        return np.asarray((self.distances(distance) <= checks.radius(radius)).sum(0), dtype=np.int64)

    def ball_extremes(
        self, radius: float, *, distance: CodeDistance = "cosine", codes: ArrayLike | None = None
    ) -> tuple[int, int]:
        """(N_min, N_max) of D6 over all codewords, or over those in `codes` (a support known in advance)."""
        counts = self.ball_counts(radius, distance=distance)
        if codes is not None:
            counts = counts[np.unique(self._codes(codes))]
        return int(counts.min()), int(counts.max())

    def cell_probabilities(self, codes: ArrayLike) -> FloatArray:
        """Share of the rows with each codeword (size,)."""
        c = self._codes(codes)
        return np.bincount(c, minlength=self.size) / c.size

    def ball_probabilities(self, codes: ArrayLike, radius: float, *, distance: CodeDistance = "cosine") -> FloatArray:
        """p(y) (size,): share of the rows whose codeword is within `radius` of each codeword (D7)."""
        near = self.distances(distance) <= checks.radius(radius)
        return np.asarray(self.cell_probabilities(codes) @ near)

    def save(self, path: str | Path) -> None:
        """Write `path`.safetensors (arrays) and `path`.json (settings)."""
        numpy_io = _safetensors()
        about = json.dumps({"parts": int(self.parts), "settings": plain(self.settings)}, indent=1)
        arrays = {"centres": np.ascontiguousarray(self.centres)}
        if self.projection is not None:
            arrays["projection"] = np.ascontiguousarray(self.projection)
        numpy_io.save_file(arrays, str(Path(f"{path}.safetensors")))
        Path(f"{path}.json").write_text(about + "\n")

    @classmethod
    def load(cls, path: str | Path) -> Codebook:
        """Read a codebook that `save` wrote."""
        arrays = _safetensors().load_file(f"{path}.safetensors")
        about = json.loads(Path(f"{path}.json").read_text())
        return cls(arrays["centres"], arrays.get("projection"), int(about["parts"]), about["settings"])

    @cached_property
    def _chords(self) -> FloatArray:
        # from differences where the product cannot resolve them: close codewords matter most
        square = np.maximum(2.0 - 2.0 * (self.centres @ self.centres.T), 0.0)
        i, j = np.nonzero(square < 1e-8)
        square[i, j] = np.square(self.centres[i] - self.centres[j]).sum(1)
        return np.asarray(np.sqrt(square))

    def _nearest(self, states: AnyArray, chunk: int) -> Iterator[tuple[IntArray, FloatArray]]:
        """Codewords and cosines to their centres, a chunk at a time."""
        chunk = checks.integer(chunk, name="chunk", least=1)
        expected = self.centres.shape[1] if self.projection is None else self.projection.shape[0]
        if not is_tensor(states):
            states = as_numpy(states, name="states")
        shape = states.shape
        if len(shape) != 2 or shape[1] != expected or shape[0] == 0:
            raise ValueError(f"states: expected a non-empty array (n, {expected}), got shape {tuple(shape)}")
        for start in range(0, shape[0], chunk):
            unit = _directions(states[start : start + chunk], name="states", first=start)
            if self.projection is not None:
                unit = _normalised(unit @ self.projection)
            if self.parts == 1:
                score = unit @ self.centres.T
                code = score.argmax(1)
                yield code, np.take_along_axis(score, code[:, None], 1)[:, 0]
            else:
                code = self._product_codewords(unit)
                yield code, np.einsum("ij,ij->i", unit, self.centres[code])

    def _product_codewords(self, unit: FloatArray) -> IntArray:
        """Each part's closest direction, independently of the others."""
        each = round(self.size ** (1.0 / self.parts))
        width = unit.shape[1] // self.parts
        code = np.zeros(len(unit), dtype=np.int64)
        for part in range(self.parts):
            columns = slice(part * width, (part + 1) * width)
            first = self.centres[:, columns][:: each ** (self.parts - 1 - part)][:each]
            code = code * each + (unit[:, columns] @ _normalised(first).T).argmax(1)
        return code

    def _codes(self, codes: ArrayLike) -> IntArray:
        return checks.codes(codes, self.size, name="codes")


def check_code_distance(distance: CodeDistance) -> None:
    """Raise ValueError for an unknown distance of codewords; "chord" is called "chordal" as everywhere else."""
    checks.one_of(distance, get_args(CodeDistance), name="distance")


def _of_all_layers(states: ArrayLike | Sequence[ArrayLike]) -> FloatArray:
    """Directions of the rows of one layer, or of a list of matrices (several layers of one width)."""
    layers = [states]
    if isinstance(states, (list, tuple)):
        entries = [entry if is_tensor(entry) else as_numpy(entry, name="states") for entry in states]
        if entries and all(entry.ndim == 2 for entry in entries):
            layers = entries
    parts = [_directions(layer, name="states") for layer in layers]
    widths = [part.shape[1] for part in parts]
    if len(set(widths)) > 1:
        raise ValueError(f"states: expected layers of one width, got {widths} columns; fit a codebook for each")
    return np.vstack(parts)


def _directions(a: AnyArray, *, name: str, first: int = 0) -> FloatArray:
    """Rows, NumPy or torch on any device, as float64 unit vectors; zero and non-finite rows raise ValueError."""
    x = checks.matrix(a, name=name)
    largest = np.abs(x).max(axis=1, keepdims=True)
    if (largest == 0).any():
        zero = first + np.flatnonzero(largest[:, 0] == 0)
        raise ValueError(f"{name}: {zero.size} zero row(s) have no direction, first {zero[:5].tolist()}; drop them")
    x = x / largest  # the squares of huge and tiny entries would leave the range of floats
    return np.asarray(x / np.linalg.norm(x, axis=1, keepdims=True))


def _normalised(x: FloatArray) -> FloatArray:
    norms = np.linalg.norm(x, axis=-1, keepdims=True)
    return np.asarray(x / np.where(norms > 0, norms, 1.0))


def _means(x: FloatArray, size: int, rng: np.random.Generator) -> FloatArray:
    from sklearn.cluster import MiniBatchKMeans

    seed = int(rng.integers(2**31))
    model = MiniBatchKMeans(n_clusters=size, batch_size=max(4096, 3 * size), n_init=3, random_state=seed).fit(x)
    return _normalised(np.asarray(model.cluster_centers_, dtype=np.float64))


def _spherical_means(unit: FloatArray, size: int, rng: np.random.Generator) -> FloatArray:
    if size == 1:
        return _normalised(unit.mean(0, keepdims=True))
    return _means(unit, size, rng)


def _safetensors() -> ModuleType:
    module: ModuleType = optional_import("safetensors.numpy", extra="vlm", purpose="saving a Codebook")
    return module
