"""Features of images as a classifier sees them, for pictures."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from memogen.metrics.extractors import Extractor
from memogen.metrics.stream import device_of, model_source
from memogen.types import GenerativeModel, ImageData

_BLOCK = 250


def image_features(data: ImageData, judge: Extractor, num: int) -> Float[Tensor, "n f"]:
    """Those of the first ``num`` images."""
    blocks = (torch.from_numpy(np.array(data.image[start : min(start + _BLOCK, num)])) for start in range(0, min(num, len(data)), _BLOCK))
    return torch.cat([judge.features(block.to(device_of(judge))).cpu() for block in blocks])


def sample_features(model: GenerativeModel, judge: Extractor, num: int, *, label: int | None = None, seed: int = 0) -> Float[Tensor, "n f"]:
    """Those of ``num`` samples, of one class where ``label`` names it."""
    draw = model_source(model, seed=seed, label=label)
    return torch.cat([judge.features(draw(start, min(_BLOCK, num - start)).to(device_of(judge))).cpu() for start in range(0, num, _BLOCK)])
