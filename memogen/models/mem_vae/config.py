"""The options of a MEM-VAE (Li, Zhu and Zhang, ICML 2016, section 5 and Table 3)."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from ...configs import LATER
from ...memory.attention import Addressing, Composition, check_attention

if TYPE_CHECKING:
    from .model import MemVAE


@dataclass(frozen=True)
class AttentionConfig:
    """The memory of each hidden layer of the decoder. ``slots`` counts them from the layer next to the data up; () is a plain VAE.

    VIS-MEM-VAE (appendix D) is ``addressing`` "softmax" with ``compose`` "additive", or "sum" as printed.
    """

    slots: tuple[int, ...] = (70, 30)
    addressing: Addressing = "sigmoid"
    compose: Composition = "ladder"
    slot_std: float = 0.01

    def __post_init__(self) -> None:
        for slots in self.slots:
            check_attention(1, slots, addressing=self.addressing, compose=self.compose, slot_std=self.slot_std)


@dataclass(frozen=True)
class GaussianConfig:
    """What the decoder makes of its raw output where pixels are real. The defaults are those of the authors' code.

    ``mean`` "linear" is the raw number, "sigmoid" brings it into (0, 1), where pixels lie. ``least_log_variance``: with a number c the log variance
    is c + softplus(raw - c), above c whatever the decoder says, so that a pixel that hardly varies makes no spike; None leaves it free.
    """

    mean: Literal["linear", "sigmoid"] = "linear"
    least_log_variance: float | None = None

    def __post_init__(self) -> None:
        if self.mean not in ("linear", "sigmoid"):
            raise ValueError(f"gaussian.mean is {self.mean!r}; it must be 'linear' or 'sigmoid'")
        if self.least_log_variance is not None and not math.isfinite(self.least_log_variance):
            raise ValueError(f"gaussian.least_log_variance is {self.least_log_variance}; it must be finite, or null for none")


@dataclass(frozen=True)
class MemVAEConfig:
    """A VAE whose decoder reads a memory in every hidden layer; the default is the paper's MEM-VAE for MNIST, 1,550,084 parameters.

    ``hidden``: widths of the layers of both networks, from the data up. ``output`` "bernoulli" is for pixels that are black or white, "gaussian"
    (mean and variance by the decoder, as ``gaussian`` says) for real ones. ``network`` "conv" puts convolutions between the image and the layers.
    ``num_classes`` above 0 conditions both networks on labels. ``pixel_levels``: a byte v stands for v / 256 as in the files that most published
    likelihoods used, or for v / 255, which makes the likelihoods of MNIST about a nat larger; data whose bytes are 0 and 255 only need 255.
    ``prior_slots`` above 0 learns the prior p(z): the mean of the posteriors of so many pseudo-inputs (:mod:`.prior`). 0 is N(0, I).
    """

    image_shape: tuple[int, int, int] = (1, 28, 28)
    hidden: tuple[int, ...] = (500, 500)
    latent_dim: int = 100
    memory: AttentionConfig = field(default_factory=AttentionConfig)
    output: Literal["bernoulli", "gaussian"] = "bernoulli"
    network: Literal["mlp", "conv"] = "mlp"
    num_classes: int = 0
    pixel_levels: Literal[256, 255] = 256
    gaussian: GaussianConfig = field(default_factory=GaussianConfig)
    prior_slots: int = field(default=0, metadata=LATER)

    def __post_init__(self) -> None:
        if len(self.image_shape) != 3 or min(self.image_shape) < 1:
            raise ValueError(f"image_shape is {self.image_shape}; it must be (channels, height, width)")
        if not self.hidden or min(*self.hidden, self.latent_dim) < 1:
            raise ValueError(f"hidden {self.hidden} and latent_dim {self.latent_dim}: there must be a hidden layer, and all widths positive")
        if self.memory.slots and len(self.memory.slots) != len(self.hidden):
            raise ValueError(
                f"memory.slots is {self.memory.slots}; it must have one number for each of the {len(self.hidden)} hidden layers, or none"
            )
        if self.output not in ("bernoulli", "gaussian"):
            raise ValueError(f"output is {self.output!r}; it must be 'bernoulli' or 'gaussian'")
        if self.network not in ("mlp", "conv"):
            raise ValueError(f"network is {self.network!r}; it must be 'mlp' or 'conv'")
        if self.num_classes < 0 or self.num_classes == 1:
            raise ValueError(f"num_classes is {self.num_classes}; it must be 0, for no labels, or at least 2")
        if self.pixel_levels not in (255, 256):
            raise ValueError(f"pixel_levels is {self.pixel_levels}; it must be 256 or 255")
        if self.prior_slots < 0 or (self.prior_slots and self.num_classes):
            raise ValueError(
                f"prior_slots is {self.prior_slots}; it must be 0, for the normal prior, or positive in a model without labels "
                f"(num_classes is {self.num_classes})"
            )

    @property
    def image_range(self) -> tuple[float, float]:
        """Where bytes 0 and 255 lie."""
        return 0.0, 255 / self.pixel_levels

    def build(self) -> MemVAE:
        """The model with fresh weights from torch's global generator."""
        from .model import MemVAE

        return MemVAE(self)
