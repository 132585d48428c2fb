"""Drawing by the statistics of a batch, as in the authors' evaluation: a protocol of its own, since an image then depends on its neighbours."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn

from ...types import Latents
from .model import ReplayGAN

_BLOCK = 64  # images of a class that are normalised together in the authors' evaluation
_MIXED_BLOCK = 10  # of each class, where the authors' joint training is evaluated


class BatchStatistics(nn.Module):
    """A model that draws as the authors evaluate: every batch norm by the batch, 64 images of one class (10 of every class in joint training).

    Image i of a class belongs to block i // 64 and depends on the whole of it. A named protocol, for the rows of the paper.
    """

    image_range = ReplayGAN.image_range
    statistics = "batch"

    def __init__(self, model: ReplayGAN) -> None:
        super().__init__()
        self.model = model

    def latents(self, num: int, *, label: int | None = None, slot: int | None = None, seed: int = 0, start: int = 0) -> Latents:
        """Those of the model itself."""
        return self.model.latents(num, label=label, slot=slot, seed=seed, start=start)

    @torch.no_grad()
    def decode(self, latents: Latents) -> Float[Tensor, "b c h w"]:
        """The images of latents of one class, as one batch."""
        return self.model.unframed(self.model.generate(latents, 1))

    @torch.no_grad()
    def sample(self, num: int, *, label: int | None = None, slot: int | None = None, seed: int = 0, start: int = 0) -> Float[Tensor, "b c h w"]:
        """Images ``start`` .. ``start + num - 1`` of ``label``, cut from whole blocks; without a label the known classes come in turn."""
        if label is None:
            return self._of_any_class(num, seed, start)
        mixed = self.model.config.statistics == "batch" and self.model.config.conditional
        size = _MIXED_BLOCK if mixed else _BLOCK
        blocks = range(start // size, -(-(start + num) // size))
        draw = self._mixed_block if mixed else self._block
        image = torch.cat([draw(block * size, label, seed) for block in blocks])
        return image[start - blocks[0] * size :][:num]

    def _block(self, first: int, label: int, seed: int) -> Tensor:
        return self.decode(self.latents(_BLOCK, label=label, seed=seed, start=first))

    def _mixed_block(self, first: int, label: int, seed: int) -> Tensor:
        known = self.model.known
        index = torch.arange(first, first + _MIXED_BLOCK, device=self.model.device)
        latents = self.model.in_turns(index, torch.tensor(known, device=self.model.device), seed=seed)
        return self.model.unframed(self.model.generate(latents, 0))[known.index(label) :: len(known)]

    def _of_any_class(self, num: int, seed: int, start: int) -> Tensor:
        known = self.model.known
        first, last = start // len(known), -(-(start + num) // len(known))
        image = torch.stack([self.sample(last - first, label=label, seed=seed, start=first) for label in known], 1).flatten(0, 1)
        return image[start - first * len(known) :][:num]
