"""The options of a Memory Replay GAN's training: each way to keep the past, and the critic's game (Wu et al. 2018, and the authors' code)."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from ...types import OptimiserConfig

# departs: torch divides the root of the second moment by its bias correction before it adds eps; the authors' TensorFlow does not.
ADAM = OptimiserConfig(learning_rate=1e-4, betas=(0.0, 0.9), eps_form="uncorrected")
"""The authors' optimiser; the paper prints the learning rate alone."""

# departs: the authors' learning rate and lambda of alignment are meant for 4,000 iterations a task. After 250 a generator at that rate draws its
# digits in noise, and one that moves faster needs a firmer hold (docs/results/replay_gan.md, "Learning rate").
SHORT_RATE, SHORT_ALIGNMENT = 1e-3, 1e-2
"""Learning rate and lambda for few iterations, such as the 250 a task of the recipes."""

# departs: networks of half the printed width or less learn two digits badly in 250 iterations at SHORT_RATE (docs/results/continual.md).
NARROW_RATE = 4e-3
"""Learning rate for few iterations of networks of half the printed width or less."""

# departs: the printed lambda of 1e9 has no meaning without the scale of F, which the paper does not give. With F over its mean, every lambda from
# 1e4 on does the same: what earlier classes need stands still (docs/results/replay_gan.md, "Elastic weight consolidation").
FIRM_CONSOLIDATION = 1e4
"""Lambda of elastic weight consolidation, for F over its mean."""


@dataclass(frozen=True)
class JointConfig:
    """Joint training with replay (section 3.2): images of the teacher take the place of the past classes' data.

    ``weights``: every class weighs as much as any other and the sum grows with their number ("sum", the authors' code for digits), all past classes
    together weigh as much as the new task ("mean", their code for LSUN), or the sum over all classes becomes a mean ("uniform", the paper's
    text). ``penalty``: the gradient penalty is taken on replays too (paper), not only on the new task (code). ``bank`` 0 draws fresh replays in
    every step (code); a number stores so many of each class (paper).
    """

    weights: Literal["sum", "mean", "uniform"] = "sum"
    penalty: bool = False
    bank: int = 0

    def __post_init__(self) -> None:
        if self.weights not in ("sum", "mean", "uniform") or self.bank < 0:
            raise ValueError(f"weights is {self.weights!r} and bank {self.bank}; use 'sum', 'mean' or 'uniform', and a bank of 0 or more")


@dataclass(frozen=True)
class AlignmentConfig:
    """Replay alignment (section 3.3, Eqs. 12, 13): the generator draws for a past (z, c) what its teacher draws.

    ``weight`` lambda, and what it multiplies: "split", lambda / k times half the sum of squares over k classes and their images, the authors' code
    for digits; "full", lambda times that half sum, their code for LSUN; "mean", the expected squared norm of Eq. 12, as printed. The coefficient
    that results is logged as ``generator/alignment_weight``: it falls with k by the first and rises by the second.
    """

    weight: float = 1e-3
    norm: Literal["split", "full", "mean"] = "split"

    def __post_init__(self) -> None:
        if self.weight < 0 or self.norm not in ("split", "full", "mean"):
            raise ValueError(f"weight is {self.weight} and norm {self.norm!r}; use a weight of 0 or more, and 'split', 'full' or 'mean'")

    def coefficient(self, num_classes: int, num_images: int) -> float:
        """What multiplies the sum of squares over ``num_images`` of ``num_classes`` classes."""
        return self.weight * {"split": 0.5 / num_classes, "full": 0.5, "mean": 1 / num_images}[self.norm]


@dataclass(frozen=True)
class GenerativeReplayConfig:
    """Deep generative replay (Shin et al. 2017): an unconditional GAN on new images and replays, and a solver that labels what it draws.

    The paper says neither the solver's network nor the mixture; ours is the critic's layers under a class head, one update of it in every step, and
    in every loss a share of real images as the classes' numbers have it, m / (m + k) for m new and k past ones.
    """

    solver: OptimiserConfig = field(default_factory=lambda: ADAM)


@dataclass(frozen=True)
class ReplayConfig:
    """How the past is drawn: as many images of each of the k past classes as make one batch together ("split": floor(b / k), the authors' code for
    digits), or a batch of each ("full", their code for LSUN). The teacher normalises by the "batch", as the authors' does, or by "stored"
    statistics, under which an aligned generator no longer starts at zero.
    """

    images: Literal["split", "full"] = "split"
    statistics: Literal["batch", "stored"] = "batch"

    def __post_init__(self) -> None:
        if self.images not in ("split", "full") or self.statistics not in ("batch", "stored"):
            raise ValueError(f"images is {self.images!r} and statistics {self.statistics!r}; use 'split' or 'full', and 'batch' or 'stored'")


@dataclass(frozen=True)
class CriticConfig:
    """The critic's game: ``steps`` updates to one of the generator, lambda_GP ``penalty``, lambda_CLS ``class_weight``.

    ``class_term``: "several", where the images of a step, replays included, are of more than one class (the paper: fine-tuning, consolidation and
    alignment have no class term); "always", as in the authors' code, where a task of one class soon makes it zero.
    """

    steps: int = 5
    penalty: float = 10.0
    class_weight: float = 1.0
    class_term: Literal["several", "always"] = "several"

    def __post_init__(self) -> None:
        if self.steps < 1 or min(self.penalty, self.class_weight) < 0 or self.class_term not in ("several", "always"):
            raise ValueError(
                f"steps {self.steps}, penalty {self.penalty}, class_weight {self.class_weight}, class_term {self.class_term!r}: out of range"
            )
