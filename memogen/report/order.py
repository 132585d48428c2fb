"""Orders of slots in which neighbours are alike, for walls of pictures."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor

TURNED = 600  # rows of a tree that is turned


def by_likeness(keys: Float[Tensor, "n d"]) -> Int[Tensor, " n"]:
    """An order of the rows in which neighbours are alike: the leaves of an average-linkage tree, turned so that the way along them is shortest.

    After Bar-Joseph, Gifford and Jaakkola 2001, "Fast optimal leaf ordering for hierarchical clustering"; of more than :data:`TURNED` rows the leaves
    stand as the tree has them, since turning it takes time by their cube.
    """
    from scipy.cluster.hierarchy import leaves_list, linkage

    if len(keys) < 3:
        return torch.arange(len(keys))
    return torch.from_numpy(leaves_list(linkage(keys.double().cpu().numpy(), method="average", optimal_ordering=len(keys) <= TURNED))).long()


def by_meaning(keys: Float[Tensor, "n d"], label: Int[Tensor, " n"]) -> Int[Tensor, " n"]:
    """Class after class, classes that are alike side by side, and within a class :func:`by_likeness`."""
    classes = label.unique()
    members = [(label == each).nonzero()[:, 0] for each in classes]
    middle = torch.stack([keys[rows].double().mean(0) for rows in members]) if members else keys[:0]
    return torch.cat([members[place][by_likeness(keys[members[place]])] for place in by_likeness(middle).tolist()] or [torch.arange(0)])
