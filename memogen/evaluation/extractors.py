"""Any network as an extractor: frozen, told how to read images, and named by the hash of its weights."""

from __future__ import annotations

import hashlib
from copy import deepcopy

import torch
from jaxtyping import Float, Shaped
from torch import Tensor, nn

from memogen.evaluation.resizing import ImageInput
from memogen.types import InputError


class ModuleExtractor(nn.Module):
    """A copy of ``module``, frozen, as an :class:`~memogen.evaluation.features.Extractor`: float images to features (b, f).

    ``reading`` turns uint8 images into the module's input and names the resize filter in every result. ``head``, if given, maps features to
    logits (b, classes); without it there is no inception score. ``version`` is ``name`` and eight digits of a SHA-256 over the weights and
    ``reading``, unless the weights have a published name of their own. At most ``at_once`` images pass through together: that moves memory,
    not scores.
    """

    def __init__(
        self,
        module: nn.Module,
        *,
        name: str,
        reading: ImageInput | None = None,
        head: nn.Module | None = None,
        version: str | None = None,
        accuracy: float | None = None,
        at_once: int = 64,
    ) -> None:
        super().__init__()
        self.module, self.head = deepcopy(module), deepcopy(head)
        self.reading = reading or ImageInput()
        self.name, self.accuracy, self.at_once = name, accuracy, at_once
        self.requires_grad_(False).eval()
        self.version = version or f"{name}:{_digest(self, self.reading)[:8]}"

    @property
    def resize(self) -> str:
        return self.reading.resize

    def train(self, mode: bool = True) -> ModuleExtractor:
        """Stays in evaluation mode whatever it is told."""
        super().train(False)
        return self

    @torch.no_grad()
    def features(self, image: Shaped[Tensor, "b c h w"]) -> Float[Tensor, "b f"]:
        """What the module makes of uint8 images; an InputError where that is not one row per image."""
        with torch.autocast(image.device.type, enabled=False), torch.backends.cudnn.flags(enabled=True, deterministic=True, allow_tf32=False):
            return torch.cat([self._features(part) for part in image.split(self.at_once)])

    @torch.no_grad()
    def logits(self, features: Float[Tensor, "b f"]) -> Float[Tensor, "b classes"]:
        """The head's logits of given features; an InputError where there is no head."""
        if self.head is None:
            raise InputError(f"extractor {self.name}: it has features but no logits: give head=..., or metrics other than the inception score")
        with torch.autocast(features.device.type, enabled=False):
            out: Tensor = self.head(features)
        return out

    def forward(self, image: Shaped[Tensor, "b c h w"]) -> Float[Tensor, "b classes"]:
        return self.logits(self.features(image))

    def _features(self, image: Tensor) -> Tensor:
        try:
            read = self.reading(image)
        except InputError as error:
            raise InputError(f"extractor {self.name}: {error}") from error
        out = self.module(read.to(_dtype(self.module)))
        if not isinstance(out, Tensor) or out.ndim != 2 or len(out) != len(image):
            shape = tuple(out.shape) if isinstance(out, Tensor) else type(out).__name__
            raise InputError(f"extractor {self.name}: {len(image)} images gave {shape}: give a module that ends in (b, f), pooled or flattened")
        return out


def _dtype(module: nn.Module) -> torch.dtype:
    """The type of its numbers: that of its first floating-point parameter or buffer."""
    return next((value.dtype for value in module.state_dict().values() if value.is_floating_point()), torch.float32)


def _digest(module: nn.Module, reading: ImageInput) -> str:
    """SHA-256 of all weights by name, type, shape and bits, and of how images are read."""
    digest = hashlib.sha256(repr(reading).encode())
    for name, value in sorted(module.state_dict().items()):
        digest.update(f"{name} {value.dtype} {tuple(value.shape)}".encode())
        digest.update(value.cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()
