"""Novelty detection: scores that are high for images like the training data, and how well each separates these from others.

For a memoryGAN the score is log p(q | real), the likelihood of an image's query under its memory; for a MEM-VAE a bound on log p(x). Baselines are
the distances to the k-th nearest training image (Sun, Ming, Zhu and Li, ICML 2022, section 3), in queries and in pixels.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from memogen.memory.functional import unit
from memogen.memory.inspect import best_slots, effective_number
from memogen.memory.protocol import MixtureMemory
from memogen.metrics.log_likelihood import log_likelihood, observable
from memogen.metrics.metric import Number
from memogen.metrics.prdc import distances
from memogen.metrics.samples import Work, finite, images_at
from memogen.metrics.slots import checked_memory, queries
from memogen.types import ImageData, InputError, LikelihoodModel, SlotModel

MEMORY, BOUND, NEAR_QUERIES, NEAR_PIXELS = "memory", "bound", "neighbours in queries", "neighbours in pixels"
_ROWS = 250  # images whose distances to all training images are in memory at once


@dataclass(frozen=True)
class NoveltyScore:
    """One score, in float64, of held-out ``known`` images and of ``others``; high values mean like the training data."""

    name: str
    known: Float[Tensor, " n"]
    others: Float[Tensor, " m"]
    protocol: dict[str, object] = field(default_factory=dict)

    @property
    def auroc(self) -> float:
        """:func:`auroc` of known against other images."""
        return auroc(self.known, self.others)

    @property
    def error(self) -> float:
        """Its standard error over the images."""
        return auroc_error(self.known, self.others)

    @property
    def percentiles(self) -> Float[Tensor, " m"]:
        """The percentile of each of the others among the known images: 0 below all of them, 100 above all."""
        below, equal = _placed(self.others, self.known)
        return 100 * (below + equal / 2).double() / len(self.known)


def auroc(known: Float[Tensor, " n"], others: Float[Tensor, " m"]) -> float:
    """The area under the receiver operating characteristic: how often a known image scores above another one; ties count half.

    1 for perfect separation, 1/2 for guessing. Exact, as pairs are counted in whole numbers. Raises InputError for no images and for nan.
    """
    _check(known, others)
    below, equal = _placed(known, others)
    return float(2 * below.sum() + equal.sum()) / (2 * len(known) * len(others))


def auroc_error(known: Float[Tensor, " n"], others: Float[Tensor, " m"]) -> float:
    """The standard error of :func:`auroc` (DeLong et al. 1988, section 2); nan for fewer than two images of one kind."""
    _check(known, others)
    if min(len(known), len(others)) < 2:
        return math.nan
    total = 0.0
    for these, those in ((known, others), (others, known)):
        below, equal = _placed(these, those)
        total += float(((below + equal / 2).double() / len(those)).var()) / len(these)
    return math.sqrt(total)


def _placed(score: Tensor, among: Tensor) -> tuple[Tensor, Tensor]:
    """The number of values ``among`` that are below each score, and the number equal to it."""
    order = among.sort().values.to(score.dtype)
    first, last = (torch.searchsorted(order, score.contiguous(), right=right) for right in (False, True))
    return first, last - first


def _check(known: Tensor, others: Tensor) -> None:
    if not len(known) or not len(others):
        raise InputError(f"AUROC: {len(known)} known and {len(others)} other images: give at least one of each")
    if bool(torch.isnan(known).any() or torch.isnan(others).any()):
        raise InputError("AUROC: a score is nan: the model is broken, or has diverged in training")


def neighbour_score(rows: Float[Tensor, "n f"], training: Float[Tensor, "t f"], *, k: int = 5) -> Float[Tensor, " n"]:
    """Minus the euclidean distance to the k-th nearest training row, in float64. Raises InputError for fewer than k rows."""
    if not 1 <= k <= len(training):
        raise InputError(f"neighbours: {k} of {len(training)} training images: ask for 1 to {len(training)}")
    training = training.double()
    return torch.cat([-distances(part.double(), training).kthvalue(k, dim=1).values for part in rows.split(_ROWS)])


def novelty(
    model: object,
    known: ImageData,
    others: ImageData,
    training: ImageData,
    *,
    k: int = 5,
    importance_samples: int = 50,
    seed: int = 0,
    work: Work | None = None,
) -> list[NoveltyScore]:
    """Every score that the model has, and the baselines, of held-out ``known`` images against ``others``, all of one shape.

    Neighbours come from ``training``. ``importance_samples`` and ``seed`` are for the bound; images are binarised if the model needs it. Raises
    InputError for a model with neither a memory of slots nor a likelihood, and for images that it cannot read.
    """
    check_model(model)
    for data in (known, others, training):
        if not len(data):
            raise InputError(f"novelty: {data.name}: no images in split {data.split}: give another")
        if data.image_shape != known.image_shape:
            raise InputError(
                f"novelty: {data.name}: images are {data.image_shape}, those of {known.name} {known.image_shape}: give them in one shape"
            )
    sets, work = (known, others, training), work or Work()
    if isinstance(model, SlotModel) and model.memory is not None:
        scores = list(_by_memory(model, sets, k, work))
    else:
        assert isinstance(model, LikelihoodModel), "the check has passed"
        scores = [_by_bound(model, known, others, importance_samples, seed, work)]
    pixels = [images_at(data, slice(None)).flatten(1).double() / (255 if data.image.dtype == np.uint8 else 1) for data in sets]
    return [*scores, _by_neighbours(NEAR_PIXELS, pixels, k)]


def check_model(model: object) -> None:
    """Raises InputError for a model that has neither a memory of slots nor a likelihood."""
    if not isinstance(model, LikelihoodModel) and not (isinstance(model, SlotModel) and model.memory is not None):
        raise InputError(f"novelty: a {type(model).__name__} has no memory of slots and no likelihood to ask: choose a memoryGAN or a MEM-VAE")


@torch.no_grad()
def _by_memory(model: SlotModel, sets: tuple[ImageData, ImageData, ImageData], k: int, work: Work) -> Iterator[NoveltyScore]:
    memory = checked_memory(model, sets[0])
    rows = [finite(unit(queries(model, data, work=work)), "queries") for data in sets]
    known, others = (memory.log_likelihood(query.to(memory.keys.device)).double().cpu() for query in rows[:2])
    told = [_directions(memory, query) for query in rows[:2]]
    protocol: dict[str, object] = {name: {"known": told[0][name], "others": told[1][name]} for name in told[0]}
    yield NoveltyScore(MEMORY, known, others, protocol)
    yield _by_neighbours(NEAR_QUERIES, rows, k)


def _directions(memory: MixtureMemory, query: Float[Tensor, "n d"]) -> dict[str, float]:
    """Do queries collapse onto keys? Their mean cosine to the key of their best real slot, and exp(entropy) of the shares of these slots."""
    slot = best_slots(memory, query.to(memory.keys.device))
    cosine = (memory.keys[slot].to(query) * query).sum(1).mean()
    share = torch.bincount(slot, minlength=memory.num_slots).double() / len(slot)
    return {"cosine": float(cosine), "slots": effective_number(share)}


def _by_bound(model: LikelihoodModel, known: ImageData, others: ImageData, samples: int, seed: int, work: Work) -> NoveltyScore:
    """The importance-weighted bound, in nats."""
    found = []
    for data in (known, others):
        images, drawn = observable(model, data, seed=seed)
        bounds = log_likelihood(model, images, num_samples=samples, at=(samples,), seed=seed, work=work).log_likelihood[:, -1]
        found.append(torch.from_numpy(bounds))
    return NoveltyScore(BOUND, found[0], found[1], {"importance_samples": samples, **drawn})


def _by_neighbours(name: str, rows: list[Tensor], k: int) -> NoveltyScore:
    known, others = (neighbour_score(part, rows[2], k=k) for part in rows[:2])
    return NoveltyScore(name, known, others, {"neighbours": k, "among": len(rows[2])})


def _told_apart(protocol: Mapping[str, Any]) -> str:
    known, others = (protocol.get(name, {}).get("data") for name in ("data", "against"))
    return f"{known} against {others}, {protocol.get('score')}"


AUROC = Number("novelty_auroc", "AUROC", "higher", apart=_told_apart)
"""The number of ``memogen novelty``."""
