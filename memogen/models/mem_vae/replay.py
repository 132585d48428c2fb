"""Replay for a MEM-VAE on a sequence of tasks without labels: a frozen copy of its decoder draws images from the prior.

After deep generative replay (Shin et al. 2017). An experiment of ours: Li et al. 2016 learn all images at once.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from ...noise import Stream
from ...types import Batch, ImageData, Latents, to_uint8
from ..replayed import FrozenCopy, again, mixed, tasks_of
from .model import MemVAE

_AT_ONCE = 1000


class SampleTeacher(FrozenCopy):
    """A frozen copy of the decoder and its memories; of a learned prior, also of the encoder, which draws from it."""

    model: MemVAE

    def __init__(self, model: MemVAE) -> None:
        super().__init__(model, silent=None if model.prior_slots else "encoder")

    def mixed(self, real: Float[Tensor, "b c h w"], batch: Batch) -> Float[Tensor, "b c h w"]:
        """The images of the task, of which some are replaced by means of p(x | z) with z from the prior. Reads device memory."""
        old = self._drawn(batch.index, seed=batch.seed, stream=batch.stream + Stream.REPLAY)
        return mixed(real, old, batch.index, tasks_of(self))

    def among(self, data: ImageData) -> ImageData:
        """``data`` with replays in the place of some images, as in training; ``data`` itself if no task was learned."""
        tasks, index = tasks_of(self), torch.arange(len(data))
        if not tasks:
            return data
        image = np.array(data.image)
        for rows in index[again(index, tasks)].split(_AT_ONCE):
            drawn = self._drawn(rows.to(self.tasks.device), seed=0, stream=Stream.REPLAY).cpu()
            image[rows] = to_uint8(drawn, self.model.image_range) if image.dtype == np.uint8 else drawn
        return replace(data, image=image, digest="")

    def _drawn(self, index: Int[Tensor, " b"], *, seed: int, stream: int) -> Float[Tensor, "b c h w"]:
        return self.model.decode(Latents(self.model.drawn_latents(index, seed=seed, stream=stream))).clamp(*self.model.image_range)
