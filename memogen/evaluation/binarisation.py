"""Grey images to black and white ones, drawn once and the same for every model: a likelihood of them depends on the draw, so it is named."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace

import numpy as np
import torch

from memogen.noise import uniform
from memogen.types import ImageData, InputError

_BLOCK = 1000
_STREAM = 7000  # a stream of counted noise that no training uses


@dataclass(frozen=True)
class Binarisation:
    """A pixel v is white with probability v / ``levels``, a real number p with probability p: by noise addressed by (``seed``, image, pixel).

    ``levels`` 256 is the scale of the MNIST that most published likelihoods used; 255 makes them about a nat larger. They must not be mixed.
    """

    seed: int = 0
    levels: int = 255

    def __post_init__(self) -> None:
        if self.levels not in (255, 256):
            raise InputError(f"binarisation: {self.levels} levels: choose 255, or 256 as in the files that published likelihoods used")

    @property
    def protocol(self) -> dict[str, object]:
        """What a result row says."""
        return {"binarisation": f"one draw, p = v / {self.levels}", "binarisation_seed": self.seed}

    def apply(self, data: ImageData) -> ImageData:
        """The same data in black and white, float32 0 and 1, so that no scale of pixels can touch them any more; the digest is another."""
        parts = []
        for start in range(0, len(data), _BLOCK):
            image = torch.from_numpy(np.array(data.image[start : start + _BLOCK]))
            index = torch.arange(start, start + len(image))
            noise = uniform(index, image[0].numel(), seed=self.seed, stream=_STREAM, dtype=torch.float64).view(image.shape)
            white = image.double() / (self.levels if image.dtype == torch.uint8 else 1)
            parts.append((noise < white).to(torch.float32))
        pixels = torch.cat(parts).numpy()
        return replace(data, image=pixels, digest=hashlib.sha256(pixels.data).hexdigest())
