"""How many of the known modes a generator reaches, and how evenly.

Metz et al. 2017 ("Unrolled generative adversarial networks", section 3.3.1) and Srivastava et al. 2017 ("VEEGAN", section 4.2) count the
combinations of stacked digits that a classifier finds among the samples, and the divergence of their shares from the true ones.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Int

from memogen.types import ImageData, InputError


@dataclass(frozen=True)
class Modes:
    """``reached``: modes with a sample at least. ``divergence``: KL(q || p) in nats of the samples' shares q from the true shares p.

    n samples of p itself have a divergence of about (modes - 1) / (2 n) (Miller 1955), and leave out a mode of share p with probability (1 - p)^n.
    """

    reached: int
    divergence: float


def count_modes(found: Int[np.ndarray, " n"], true: Int[np.ndarray, " n"]) -> Modes:
    """From the number of samples, and of real images, of each mode; every mode has real images."""
    q, p = found / found.sum(), true / true.sum()
    there = found > 0
    return Modes(int(there.sum()), float((q[there] * np.log(q[there] / p[there])).sum()))


def mode_counts(data: ImageData, known: int) -> Int[np.ndarray, " n"]:
    """The images of each of the ``known`` classes, the modes. Raises InputError where labels are missing, or a class has none."""
    if data.label is None:
        raise InputError(f"metric modes: {data.name} {data.split} has no labels: compare with a labelled data set")
    counts = np.bincount(data.label, minlength=known)
    if len(counts) > known or not counts.all():
        there = int((counts > 0).sum())
        raise InputError(f"metric modes: the extractor knows {known} classes, {data.name} {data.split} has {there}: use a classifier of the data")
    return counts
