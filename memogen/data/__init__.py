"""Images from files to batches."""

from memogen.data.access import check, load, prepare, splits
from memogen.data.arrays import from_arrays, from_dataset
from memogen.data.batches import Batches
from memogen.data.datasets import DATASETS, DataSet
from memogen.data.findings import DataReport, Finding
from memogen.data.options import DataOptions

__all__ = [
    "DATASETS",
    "Batches",
    "DataOptions",
    "DataReport",
    "DataSet",
    "Finding",
    "check",
    "from_arrays",
    "from_dataset",
    "load",
    "prepare",
    "splits",
]
