"""Endless batches addressed by image number: every rank of any number of processes can start anywhere and gets its share of the same batches."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from memogen.types import Batch, ImageData, InputError

RESIDENT_BYTES = 2 * 1024**3  # data smaller than this lives on the GPU as a whole


def epoch_order(num_images: int, *, seed: int, epoch: int) -> np.ndarray:
    """The permutation of the images in one epoch, int64 (n,): images ranked by 64 counted bits keyed by (seed, epoch).

    Philox's raw output is fixed by its definition (Salmon et al. 2011), so the order outlives releases of NumPy.
    """
    key = np.array([seed & 0xFFFFFFFFFFFFFFFF, epoch], dtype=np.uint64)
    return np.argsort(np.random.Philox(key=key).random_raw(num_images), kind="stable")


class Batches:
    """Joint batches of ``batch_size`` images, of which this rank gets its contiguous share.

    Image number i of training (i = 0, 1, 2, ... without end) is entry i mod n of epoch i // n; every epoch is a permutation of all n images, and a
    batch may reach from one into the next. There is no other state, so a training resumes by its count of images alone.
    """

    def __init__(
        self, data: ImageData, batch_size: int, *, seed: int, rank: int = 0, world_size: int = 1, device: torch.device | str = "cpu"
    ) -> None:
        if batch_size < 1 or batch_size % world_size:
            raise InputError(f"batch_size: {batch_size}: give a positive multiple of the {world_size} processes")
        if not 0 <= rank < world_size:
            raise InputError(f"rank: {rank}: must lie in 0..{world_size - 1}")
        if len(data) == 0:
            raise InputError(f"data: {data.name} has no images: give another data set")
        self.data, self.batch_size, self.seed = data, batch_size, seed
        self.rank, self.world_size, self.device = rank, world_size, torch.device(device)
        self._orders: dict[int, np.ndarray] = {}
        self._resident: tuple[Tensor, Tensor | None] | None = None
        if self.device.type == "cuda" and data.image.nbytes < RESIDENT_BYTES:
            self._resident = _tensor(data.image).to(self.device), None if data.label is None else _tensor(data.label).to(self.device)

    def at(self, images_seen: int, *, step: int, stream: int, pixels: bool = True) -> Batch:
        """This rank's share of the joint batch that begins at image number ``images_seen``; ``pixels`` False gives its address alone."""
        share = self.batch_size // self.world_size
        first = images_seen + self.rank * share
        index = torch.arange(first, first + share, device=self.device)
        if not pixels:
            return Batch(index, seed=self.seed, stream=stream, step=step)
        image, label = self._fetch(self.rows(first, share))
        return Batch(index, image, label, seed=self.seed, stream=stream, step=step)

    def rows(self, first: int, count: int) -> np.ndarray:
        """Which images of the data set the image numbers first .. first + count - 1 are, int64 (count,)."""
        size = len(self.data)
        epochs = range(first // size, (first + count - 1) // size + 1)
        for past in [epoch for epoch in self._orders if epoch not in epochs]:
            del self._orders[past]
        for epoch in epochs:
            if epoch not in self._orders:
                self._orders[epoch] = epoch_order(size, seed=self.seed, epoch=epoch)
        order = np.concatenate([self._orders[epoch] for epoch in epochs]) if len(epochs) > 1 else self._orders[epochs[0]]
        return order[first - epochs[0] * size :][:count]

    def _fetch(self, rows: np.ndarray) -> tuple[Tensor, Tensor | None]:
        if self._resident is not None:
            image, label = self._resident
            picked = self._send(torch.from_numpy(rows))
            return image[picked], None if label is None else label[picked]
        labels = self.data.label
        return self._send(_tensor(self.data.image[rows])), None if labels is None else self._send(_tensor(labels[rows]))

    def _send(self, tensor: Tensor) -> Tensor:
        """To the device; to a GPU from pinned memory, without waiting for the copy."""
        if self.device.type != "cuda":
            return tensor.to(self.device)
        return tensor.pin_memory().to(self.device, non_blocking=True)


def _tensor(array: np.ndarray) -> Tensor:
    """A tensor of the array's own values; a read-only map of a file is copied."""
    return torch.from_numpy(np.array(array) if not array.flags.writeable else np.asarray(array))
