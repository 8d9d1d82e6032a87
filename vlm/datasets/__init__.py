"""Questions of ten benchmarks (GQA, VQAv2, POPE, MMMU, ...), of the embedded set, or your own, as one kind of item."""

from vlm.datasets.catalogue import DATASETS, GROUPS, Dataset, Place, group_of
from vlm.datasets.reading import read

__all__ = ["DATASETS", "GROUPS", "Dataset", "Place", "group_of", "read"]
