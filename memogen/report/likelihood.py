"""What the memory says of held-out images and of its own slots, to be followed over training: Figs. 3a and 3c of Kim et al. 2018, life signs."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn

from memogen.memory.inspect import best_slots, mean_cosine, sorted_prior, written
from memogen.models import MemoryGAN
from memogen.types import ImageData, InputError

from .drawing import memory_of
from .history import RANK

BLOCK = 500  # images encoded at once


@dataclass(frozen=True)
class HeldOutQueries:
    """An evaluator: what the memory says of the queries q = mu(x) of the first ``num`` images of ``held_out``.

    ======================  =========================================================================================
    ``images``              how many there are
    ``log_likelihood``      their mean log p(q | y = 1), in nats
    ``best_slots``          how many different slots are the most probable real one of some image
    ``query_cosine``        mean cosine between two of the queries
    ``key_cosine``          mean cosine between two written real keys
    ======================  =========================================================================================

    The likelihood is "biased" in the paper's words: it is the density of the queries on the unit sphere, not of the pixels, and mu moves while
    it trains. The cosines are nan where there are fewer than two to compare.
    """

    held_out: ImageData
    num: int = 10_000

    @torch.no_grad()
    def __call__(self, model: nn.Module, data: ImageData, *, seed: int) -> dict[str, float]:
        """The numbers above; neither the training ``data`` nor the ``seed`` matters. Raises InputError for a model without memory."""
        if not isinstance(model, MemoryGAN):
            raise InputError(f"likelihood: a {type(model).__name__} has no memory to ask: choose a memoryGAN")
        memory, images = memory_of(model), self.held_out.image[: self.num]
        blocks = [model.encode(torch.from_numpy(images[start : start + BLOCK].copy())) for start in range(0, len(images), BLOCK)]
        best = torch.cat([best_slots(memory, block) for block in blocks])
        return {
            "images": float(len(images)),
            "log_likelihood": float(torch.cat([memory.log_likelihood(block, value=1) for block in blocks]).double().mean()),
            "best_slots": float(len(best[best >= 0].unique())),
            "query_cosine": mean_cosine(torch.cat(blocks)),
            "key_cosine": mean_cosine(memory.keys[(memory.values > 0.5) & written(memory)]),
        }


@dataclass(frozen=True)
class SortedPrior:
    """An evaluator: the sorted prior p(c | v = 1) at the ranks 1, 2, 4, .. and the last."""

    def __call__(self, model: nn.Module, data: ImageData, *, seed: int) -> dict[str, float]:
        """{"rank_1": the largest, "rank_2": .., ..}. Raises InputError for a model without memory."""
        if not isinstance(model, MemoryGAN):
            raise InputError(f"prior: a {type(model).__name__} has no memory to ask: choose a memoryGAN")
        ordered = sorted_prior(memory_of(model))
        ranks = sorted({min(2**power, len(ordered)) for power in range(len(ordered).bit_length() + 1)})
        return {f"{RANK}{rank}": float(ordered[rank - 1]) for rank in ranks if rank > 0}
