"""The training images nearest to given images, by any embedding: is the model copying? (Kim et al. 2018, Fig. 5, with the cosine of q.)"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from memogen.types import ImageData, InputError, Pixels

Measure = Literal["cosine", "euclidean"]
Embedding = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Neighbours:
    """``index`` into the training images, nearest first, and ``value``: the cosine, or the euclidean distance."""

    index: Int[Tensor, "b num"]
    value: Float[Tensor, "b num"]


def pixels(image: Pixels) -> Float[Tensor, "b chw"]:
    """The plainest embedding: all pixels in [0, 1]."""
    return image.flatten(1).float() / (255 if image.dtype == torch.uint8 else 1)


@torch.no_grad()
def nearest_images(
    image: Pixels, data: ImageData, *, embed: Embedding = pixels, measure: Measure = "euclidean", num: int = 7, chunk: int = 1000
) -> Neighbours:
    """The ``num`` images of ``data`` nearest to each image. ``embed`` maps uint8 images to (b, anything); for Fig. 5 it is ``model.encode``.

    The data are read ``chunk`` images at a time and only the best are kept. Equal values stand in the order of the data.
    """
    _check(image, data, num)
    query = _rows(embed(image), measure)
    value = torch.empty(len(query), 0, dtype=query.dtype, device=query.device)
    index = torch.empty(len(query), 0, dtype=torch.int64, device=query.device)
    for start in range(0, len(data), chunk):
        rows = _rows(embed(torch.from_numpy(np.array(data.image[start : start + chunk])).to(image.device)), measure)
        here = torch.arange(start, start + len(rows), device=query.device).expand(len(query), -1)
        value, index = torch.cat([value, _nearness(query, rows, measure)], 1), torch.cat([index, here], 1)
        order = value.sort(dim=1, descending=True, stable=True).indices[:, :num]
        value, index = value.gather(1, order), index.gather(1, order)
    return Neighbours(index, value if measure == "cosine" else (-value).clamp(min=0).sqrt())


def _rows(embedding: Tensor, measure: Measure) -> Tensor:
    rows = embedding.flatten(1).double()
    return torch.nn.functional.normalize(rows, dim=1) if measure == "cosine" else rows


def _nearness(query: Tensor, rows: Tensor, measure: Measure) -> Tensor:
    """Larger is nearer: the cosine, or minus the squared distance."""
    product = query @ rows.T
    return product if measure == "cosine" else 2 * product - query.square().sum(1)[:, None] - rows.square().sum(1)


def _check(image: Tensor, data: ImageData, num: int) -> None:
    if tuple(image.shape[1:]) != data.image_shape:
        raise InputError(f"nearest images: images are {tuple(image.shape[1:])} and {data.name} holds {data.image_shape}: use the model's own data")
    if not 1 <= num <= len(data):
        raise InputError(f"nearest images: {num} neighbours asked for of {len(data)} images in {data.name}: ask for 1 to {len(data)}")
