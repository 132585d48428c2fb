"""The judge of stacked digits: the classifier of one digit, asked about each channel."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from jaxtyping import Float, Shaped
from torch import Tensor, nn

from memogen.types import InputError

if TYPE_CHECKING:
    from memogen.evaluation.features import Classifier

STACKED = "stacked-digits"


class StackedClassifier(nn.Module):
    """An :class:`~memogen.evaluation.features.Extractor` of pictures with a digit in each channel.

    Its features are those of the channels side by side. It takes the channels for independent, p(a, b, c) = p(a) p(b) p(c), and combination
    100 a + 10 b + c for class 100 a + 10 b + c of 1,000.
    """

    def __init__(self, one: Classifier, places: int = 3) -> None:
        super().__init__()
        self.one, self.places = one, places
        self.name, self.resize = STACKED, one.resize

    @property
    def version(self) -> str:
        """That of the classifier, and how many channels it is asked about."""
        return f"{self.one.version}^{self.places}"

    @property
    def accuracy(self) -> float:
        """That all channels are right, each as often as a single digit."""
        return self.one.accuracy**self.places

    @torch.no_grad()
    def features(self, image: Shaped[Tensor, "b places h w"]) -> Float[Tensor, "b f"]:
        """The layer before the logits, channel after channel. Another number of channels is an InputError."""
        if image.ndim != 4 or image.shape[1] != self.places:
            raise InputError(f"classifier {self.name}: images are {tuple(image.shape[1:])}: give {self.places} channels with a digit each")
        return self.one.features(image.flatten(0, 1)[:, None]).unflatten(0, (-1, self.places)).flatten(1)

    @torch.no_grad()
    def logits(self, features: Float[Tensor, "b f"]) -> Float[Tensor, "b classes"]:
        """log p of every combination."""
        parts = self.one.logits(features.unflatten(1, (self.places, -1)).flatten(0, 1)).log_softmax(1).unflatten(0, (-1, self.places))
        joint = parts[:, 0]
        for place in range(1, self.places):
            joint = (joint[:, :, None] + parts[:, place, None, :]).flatten(1)
        return joint

    def forward(self, image: Shaped[Tensor, "b places h w"]) -> Float[Tensor, "b classes"]:
        return self.logits(self.features(image))
