"""Images from files to batches."""

from memogen.data.access import check, load, named, prepare, splits
from memogen.data.arrays import from_arrays, from_dataset
from memogen.data.batches import Batches
from memogen.data.datasets import DATASETS, DataSet
from memogen.data.findings import DataReport, Finding
from memogen.data.images import DataOptions
from memogen.data.pictures import read_picture

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
    "named",
    "prepare",
    "read_picture",
    "splits",
]
