"""A long-tailed version of a labelled data set: class k keeps a share r^k of its images, as in long-tailed CIFAR (Cui et al. 2019, section 5.1).

Cui, Jia, Lin, Song and Belongie, "Class-balanced loss based on effective number of samples", CVPR 2019: n_k = n mu^k.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from jaxtyping import Int

from memogen.data.arrays import digest
from memogen.data.batches import epoch_order
from memogen.types import ImageData, InputError


def tail_rows(label: Int[np.ndarray, " n"], share: float) -> Int[np.ndarray, " kept"]:
    """The rows that stay, in their order: of class k the nearest whole number to ``share``^k of its images, and at least one.

    Which ones is drawn by the seed 0 and the class alone, so that a larger share keeps all that a smaller one keeps.
    """
    kept = []
    for name, count in zip(*np.unique(label, return_counts=True), strict=True):
        rows = np.flatnonzero(label == name)
        order = epoch_order(len(rows), seed=0, epoch=int(name))
        kept.append(rows[order[: max(1, round(share ** int(name) * int(count)))]])
    return np.sort(np.concatenate(kept))


def long_tailed(data: ImageData, share: float) -> ImageData:
    """``data`` thinned by :func:`tail_rows`; as it is where ``share`` is 1. Labels decide which images stay and nothing else."""
    if share == 1:
        return data
    if data.label is None:
        raise InputError(f"long_tail: {data.name} has no labels to thin it by: choose a labelled data set, or leave long_tail at 1")
    rows = tail_rows(data.label, share)
    image, label = np.ascontiguousarray(data.image[rows]), data.label[rows]
    return replace(data, image=image, label=label, digest=digest(image, label))
