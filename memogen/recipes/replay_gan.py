"""The rows of Memory Replay GANs' tables (Wu et al. 2018, Tables 1 and 2), Fashion-MNIST, which the paper has not, and any labelled image folder.

Each function takes a ``variant``, one of ``VARIANTS``. A row is the authors' code with what docs/explanation/replay_gan.md lists under "Choices" and
"Departures"; of the paper's own methods ROW_paper follows the text wherever the code differs, and ROW_code is the code, scored as its authors do.
``training.steps`` are generator iterations for each task.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal, get_args

from ..data import DataOptions
from ..data.task_sequence import TaskConfig
from ..models.replay_gan import (
    AlignmentConfig,
    ConsolidationConfig,
    CriticConfig,
    GenerativeReplayConfig,
    JointConfig,
    ReplayConfig,
    ReplayGANConfig,
    ReplayGANObjective,
)
from ..models.replay_gan.options import ADAM, FIRM_CONSOLIDATION, NARROW_RATE, SHORT_ALIGNMENT, SHORT_RATE
from ..training import SuccessionConfig, TrainingConfig
from .recipe import Claim, DataConfig, Recipe, ScoringConfig, check_variant

Variant = Literal[
    "joint_training",
    "joint_training_half",
    "fine_tuning",
    "ewc",
    "dgr",
    "joint_replay",
    "joint_replay_mean",
    "replay_alignment",
    "joint_replay_alignment",
    "joint_replay_paper",
    "joint_replay_code",
    "replay_alignment_paper",
    "replay_alignment_code",
]
StreamVariant = Literal[
    "joint_training", "fine_tuning", "ewc", "dgr", "joint_replay", "joint_replay_mean", "replay_alignment", "joint_replay_alignment"
]
Reading = Literal["robust", "paper", "code"]

ROWS: dict[str, str] = {
    "joint_training": "all classes at once (JT): what the others are measured by",
    "joint_training_half": "the first half of the classes at once: the paper's other row of joint training",
    "fine_tuning": "one class after another with nothing to keep the earlier ones (SFT)",
    "ewc": "elastic weight consolidation of the generator",
    "dgr": "deep generative replay: an unconditional GAN, and a solver that labels",
    "joint_replay": "joint training with replay (MeRGAN-JTR)",
    "joint_replay_mean": "the same, where all past classes together weigh like the new ones, as in the authors' code for LSUN",
    "replay_alignment": "replay alignment (MeRGAN-RA)",
    "joint_replay_alignment": "both together, which the paper does not report",
}
"""The rows of Table 1."""

READINGS: dict[str, tuple[str, Reading]] = {row: (row, "robust") for row in ROWS}
READINGS |= {f"{row}_{reading}": (row, reading) for row in ("joint_replay", "replay_alignment") for reading in get_args(Reading)[1:]}
"""The row and the reading of every variant."""
VARIANTS = tuple(READINGS)

_ORDER = ("joint_training", "fine_tuning", "ewc", "dgr", "joint_replay", "replay_alignment")
TABLE_1 = {
    "mnist": {5: (97.66, 19.87, 70.62, 90.39, 97.93, 98.19), 10: (96.92, 10.06, 77.03, 85.40, 97.00, 97.01)},
    "svhn": {5: (85.30, 19.35, 39.84, 61.29, 80.90, 76.05), 10: (84.82, 10.10, 33.02, 47.28, 66.50, 66.78)},
}
"""Printed average accuracies in percent after five and ten tasks."""

TABLE_2 = {
    "fine_tuning": (15.02, 28.0, 110.12),
    "ewc": (14.28, 63.35, 178.05),
    "dgr": (15.40, 26.17, 93.70),
    "joint_replay": (79.19, 70.00, 49.69),
    "replay_alignment": (81.03, 83.62, 37.73),
}
"""Printed accuracy and reverse accuracy in percent, and the mean of four Fréchet distances, on LSUN after four tasks."""

PRINTED_RATE = ADAM.learning_rate


CANDIDATES = 256
"""Of deep generative replay. The paper does not say how an image of a class is found. A class of one image in fifty is missed in 0.6 %."""


@dataclass(frozen=True)
class _Setting:
    """Settings by data set. Of the authors' code: lambda of alignment, how replays are drawn, and the weights of the classes in joint training.
    For 250 iterations: learning rate and lambda."""

    alignment: float = 1e-3
    images: Literal["split", "full"] = "split"
    weights: Literal["sum", "mean"] = "sum"
    learning_rate: float = SHORT_RATE
    short_alignment: float = SHORT_ALIGNMENT


def mnist(variant: Variant = "joint_replay") -> Recipe:
    """MNIST, a digit a task, with the three-layer networks. The first 5,000 images, TensorFlow's validation part, are left out as in the code."""
    return _recipe("mnist", "mnist", ReplayGANConfig(), TaskConfig(left_out=5000), _Setting(), variant)


def fashion_mnist(variant: Variant = "joint_replay") -> Recipe:
    """Fashion-MNIST, an article a task, with the settings of MNIST: nobody printed it."""
    return _recipe("fashion_mnist", "fashion-mnist", ReplayGANConfig(), TaskConfig(), _Setting(), variant)


def svhn(variant: Variant = "joint_replay") -> Recipe:
    """Street View House Numbers, a digit a task. Unverified: it has not been run."""
    return _recipe("svhn", "svhn", ReplayGANConfig(image_shape=(3, 32, 32)), TaskConfig(), _Setting(alignment=1e-2), variant)


def lsun(variant: Variant = "joint_replay") -> Recipe:
    """LSUN's bedroom, kitchen, church_outdoor and tower at 64x64 with the residual networks. Unverified: it has not been run."""
    model = ReplayGANConfig(image_shape=(3, 64, 64), network="resnet", width=64, conditioning="concat")
    setting = _Setting(images="full", weights="mean", learning_rate=PRINTED_RATE, short_alignment=1e-3)
    return _recipe("lsun", "lsun", model, TaskConfig(), setting, variant)


def digits(variant: Variant = "joint_replay") -> Recipe:
    """scikit-learn's embedded 8x8 digits, narrow networks: all tasks in minutes, without a download."""
    model, setting = ReplayGANConfig(image_shape=(1, 8, 8), noise_dim=32), _Setting(learning_rate=5e-4, short_alignment=1e-3)
    return _recipe("digits", "digits", model, TaskConfig(), setting, variant)


def folder(variant: Variant = "joint_replay") -> Recipe:
    """Any images sorted into a folder for each class, or an npz with labels. Give it with ``data``."""
    recipe = _recipe("folder", "folder", ReplayGANConfig(num_classes=1), TaskConfig(), _Setting(), variant)
    return replace(recipe, data=DataConfig("folder", options=DataOptions()))


def _recipe(name: str, data: str, model: ReplayGANConfig, tasks: TaskConfig, setting: _Setting, variant: Variant) -> Recipe:
    """A data set's recipe in a variant."""
    check_variant(variant, READINGS)
    row, reading = READINGS[variant]
    if reading == "paper":
        model, tasks = replace(model, framing="resize", conditioning="norm"), replace(tasks, left_out=0)
    if row in ("joint_training", "joint_training_half"):
        model, tasks = replace(model, statistics="batch"), replace(tasks, joint=True)
    return Recipe(
        recipe=f"replay_gan/{name}",
        variant=variant,
        data=DataConfig(data),
        model=replace(model, conditioning="none", candidates=CANDIDATES) if row == "dgr" else model,
        objective=_method(row, reading, setting),
        training=TrainingConfig(
            steps=250,
            channels_last=False if data == "digits" else "auto",
            ema_decay=0.999 if reading == "robust" else 0.0,
            checkpoint_every=125,
            sample_every=125,
            log_every=25,
            keep=1,
        ),
        scoring=ScoringConfig(
            data if data in ("mnist", "fashion-mnist", "digits") else None,
            ("accuracy", "fid", "reverse_accuracy"),
            num_samples=1000,
            likelihood_every=0,
            statistics="batch" if reading == "code" else "stored",
        ),
        claims=printed(name, row),
        succession=SuccessionConfig(replace(tasks, num_tasks=2 if name == "lsun" else 5) if row == "joint_training_half" else tasks),
    )


def _method(row: str, reading: Reading, setting: _Setting) -> ReplayGANObjective:
    """The method that keeps the past, and how the past is drawn."""
    joint = JointConfig(setting.weights)
    alignment = AlignmentConfig(setting.alignment, setting.images)
    if reading == "paper":
        joint, alignment = JointConfig("uniform", penalty=True, bank=5000), replace(alignment, norm="mean")
    game = CriticConfig(class_term="always" if reading == "code" else "several")
    plain = ReplayGANObjective(replay=ReplayConfig(setting.images), game=game)
    if reading == "robust":
        plain, alignment = plain.at_rate(setting.learning_rate), replace(alignment, weight=setting.short_alignment)
    match row:
        case "ewc":
            return replace(plain, consolidation=ConsolidationConfig(FIRM_CONSOLIDATION, normalise="mean"))
        case "dgr":
            return replace(plain, generative_replay=GenerativeReplayConfig(solver=plain.critic))
        case "joint_replay":
            return replace(plain, joint=joint)
        case "joint_replay_mean":
            return replace(plain, joint=replace(joint, weights="mean"))
        case "replay_alignment":
            return replace(plain, alignment=alignment)
        case "joint_replay_alignment":
            return replace(plain, joint=joint, alignment=alignment)
        case _:
            return plain


def printed(name: str, variant: str) -> tuple[Claim, ...]:
    """Everything that the paper prints of a variant on a data set, as shares where it prints percent."""
    if name == "lsun" and variant in TABLE_2:
        accuracy, reverse, fid = TABLE_2[variant]
        source = "Wu et al. 2018, Table 2"
        shares = (Claim("accuracy 4", accuracy / 100, None, source), Claim("reverse_accuracy", round(reverse / 100, 4), None, source))
        return (*shares, Claim("fid", fid, None, source))
    base, learned = ("joint_training", (5,)) if variant == "joint_training_half" else (variant, (10,) if variant == "joint_training" else (5, 10))
    if name not in TABLE_1 or base not in _ORDER:
        return ()
    found = {count: TABLE_1[name][count][_ORDER.index(base)] for count in learned}
    return tuple(Claim(f"accuracy {count}", round(value / 100, 4), None, "Wu et al. 2018, Table 1") for count, value in found.items())


# --- two classes a task, five tasks: the setting of the continual benchmark, in which the other families learn without labels ---


def digits_stream(variant: StreamVariant = "joint_replay") -> Recipe:
    """Two of the embedded 8x8 digits a task: the networks of ``replay_gan/digits`` at half the width, and lambda of MNIST."""
    return _stream(_narrow(digits(variant)), "digits", width=16)


def mnist_stream(variant: StreamVariant = "joint_replay") -> Recipe:
    """Two digits of MNIST a task, with networks of a quarter of the width, for a CPU."""
    return _stream(_narrow(mnist(variant)), "mnist", width=8)


def fashion_mnist_stream(variant: StreamVariant = "joint_replay") -> Recipe:
    """Two articles of Fashion-MNIST a task, with networks of a quarter of the width, for a CPU."""
    return _stream(_narrow(fashion_mnist(variant)), "fashion-mnist", width=8)


def cifar10_stream(variant: StreamVariant = "joint_replay") -> Recipe:
    """Two classes of CIFAR-10 a task, with the three-layer networks and the settings of SVHN. 250 iterations a task are too few to learn them."""
    recipe = replace(svhn(variant), recipe="replay_gan/cifar10", data=DataConfig("cifar10"))
    return _stream(recipe, "cifar10")


def _narrow(recipe: Recipe) -> Recipe:
    """The recipe at the learning rate of narrow networks, and at lambda of MNIST."""
    assert isinstance(recipe.objective, ReplayGANObjective)
    return replace(recipe, objective=recipe.objective.at_rate(NARROW_RATE, SHORT_ALIGNMENT))


def _stream(recipe: Recipe, judge: str, *, width: int | None = None) -> Recipe:
    """Two classes a task, every image of the training split learned."""
    check_variant(recipe.variant, get_args(StreamVariant))
    model, succession = recipe.model, recipe.succession
    assert isinstance(model, ReplayGANConfig) and succession is not None
    return replace(
        recipe,
        recipe=f"{recipe.recipe}_stream",
        model=replace(model, width=width or model.width),
        scoring=ScoringConfig(judge, ("continual",), num_samples=2000, likelihood_every=0),
        claims=(),
        succession=replace(succession, tasks=replace(succession.tasks, classes_per_task=2, left_out=0)),
    )


RECIPES = (digits, mnist, fashion_mnist, svhn, lsun, folder, digits_stream, mnist_stream, fashion_mnist_stream, cifar10_stream)
