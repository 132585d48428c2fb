"""Drawing by the statistics of a batch, as in the authors' evaluation: a protocol of its own, since an image then depends on its neighbours."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from jaxtyping import Float
from torch import Tensor, nn

from ...types import Latents, check_count

if TYPE_CHECKING:
    from .model import ReplayGAN


from collections.abc import Iterator
from contextlib import contextmanager

from jaxtyping import Int

from ...nets.class_norm import ClassBatchNorm, Turns

_BLOCK = 64  # images of a class that are normalised together in the authors' evaluation
_MIXED_BLOCK = 10  # of each class, where the authors' joint training is evaluated


class BatchStatistics(nn.Module):
    """A model that draws as the authors evaluate: every batch norm by the batch, 64 images of one class (10 of every class in joint training).

    Image i of a class belongs to block i // 64 and depends on the whole of it. A named protocol, for the rows of the paper.
    """

    statistics = "batch"

    def __init__(self, model: ReplayGAN) -> None:
        super().__init__()
        self.model = model
        self.image_range = model.image_range

    def latents(self, num: int, *, label: int | None = None, slot: int | None = None, seed: int = 0, start: int = 0) -> Latents:
        """The latents of the model itself."""
        return self.model.latents(num, label=label, slot=slot, seed=seed, start=start)

    @torch.no_grad()
    def decode(self, latents: Latents) -> Float[Tensor, "b c h w"]:
        """The images of latents of one class, as one batch."""
        return self.model.unframed(self.model.generate(latents, 1))

    @torch.no_grad()
    def sample(self, num: int, *, label: int | None = None, slot: int | None = None, seed: int = 0, start: int = 0) -> Float[Tensor, "b c h w"]:
        """Images ``start`` .. ``start + num - 1`` of ``label``, cut from whole blocks; without a label the known classes come in turn."""
        check_count(num)
        if num == 0:  # no block is begun
            return self.model.sample(0, label=label, seed=seed)
        if label is None:
            known = len(self.model.known)
            first, last = start // known, -(-(start + num) // known)
            return self._turns(range(first, last), seed)[start - first * known :][:num]
        numbers = range(start, start + num)
        return self._mixed(numbers, seed)[:, self.model.known.index(label)] if self._mixes else self._of(label, numbers, seed)

    @property
    def _mixes(self) -> bool:
        """Whether a batch holds every class."""
        return self.model.config.statistics == "batch" and self.model.config.conditional

    def _turns(self, numbers: range, seed: int) -> Tensor:
        """The images of these numbers of every class, all classes in turn."""
        if self._mixes:
            return self._mixed(numbers, seed).flatten(0, 1)
        return torch.stack([self._of(label, numbers, seed) for label in self.model.known], 1).flatten(0, 1)

    def _of(self, label: int, numbers: range, seed: int) -> Tensor:
        """The images of these numbers of a class, cut from blocks of that class alone."""
        first = [block * _BLOCK for block in _blocks(numbers, _BLOCK)]
        image = torch.cat([self.decode(self.latents(_BLOCK, label=label, seed=seed, start=start)) for start in first])
        return image[numbers.start - first[0] :][: len(numbers)]

    def _mixed(self, numbers: range, seed: int) -> Float[Tensor, "n classes c h w"]:
        """The images of these numbers of every class, cut from blocks of all classes."""
        known = torch.tensor(self.model.known, device=self.model.device)
        blocks = _blocks(numbers, _MIXED_BLOCK)
        index = torch.arange(blocks.start * _MIXED_BLOCK, blocks.stop * _MIXED_BLOCK, device=self.model.device)
        drawn = [self.model.generate(self.model.in_turns(part, known, seed=seed), 0) for part in index.split(_MIXED_BLOCK)]
        image = self.model.unframed(torch.cat(drawn)).unflatten(0, (len(index), len(known)))
        return image[numbers.start - blocks.start * _MIXED_BLOCK :][: len(numbers)]


def _blocks(numbers: range, size: int) -> range:
    """The blocks that hold these numbers."""
    return range(numbers.start // size, -(-numbers.stop // size))


def known_classes(learned: Int[Tensor, " classes"]) -> tuple[int, ...]:
    """The classes that have been learned. Reads device memory."""
    return tuple((learned >= 0).nonzero()[:, 0].tolist())


def generate(generator: nn.Module, latents: Latents, turns: Turns) -> Float[Tensor, "b c h w"]:
    """The generator's images of latents; latents without classes all get class 0."""
    if latents.label is not None:
        image: Tensor = generator(latents.noise, latents.label, turns)
        return image
    nothing = torch.zeros_like(latents.noise[:, 0], dtype=torch.long)  # len() would fix the size of the batch in an exported graph
    return generator(latents.noise, nothing, None if turns is None else 1)


@contextmanager
def storing(generator: nn.Module, number: int) -> Iterator[None]:
    """Within, the statistics of batch ``number`` (from 0) enter the mean that ``generator`` stores."""
    norms = [part for part in generator.modules() if isinstance(part, ClassBatchNorm)]
    for norm in norms:
        norm.momentum = 1 / (number + 1)
    try:
        yield
    finally:
        for norm in norms:
            norm.momentum = 0.0
