"""The rows of memoryGAN's tables (Kim, Kim and Kim, ICLR 2018, Tables 2 and 3), and recipes for the embedded digits and for any image folder.

Each function takes a ``variant``, one of ``VARIANTS``; "paper" and "code" are the literal readings, without the parts that this library adds.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

from ..augment import CLOTHES, COLOUR, STILL, AugmentConfig
from ..data import DataOptions
from ..memory import Policy
from ..metrics.extractors import PIXELS
from ..models import MemoryConfig, MemoryGANConfig, MemoryGANObjective, NoiseConfig
from ..models.memory_gan import ContrastConfig
from ..training import TrainingConfig
from ..types import OptimiserConfig
from .recipe import IN_PIXELS, Claim, DataConfig, Recipe, ScoringConfig, check_variant

Variant = Literal[
    "memory_gan",
    "no_em",
    "no_mcgn",
    "no_memory",
    "no_memory_contrast",
    "no_contrast",
    "as_printed",
    "no_memory_as_printed",
    "paper",
    "code",
]

VARIANTS: dict[Variant, str] = {
    "memory_gan": "everything",
    "no_em": "keys move by the rule of Kaiser et al. (2017)",
    "no_mcgn": "the generator is told no slot, so D has no condition to judge an image with",
    "no_memory": "a plain GAN whose networks have as many parameters",
    "no_memory_contrast": "the same, and its critic also contrasts views of real images",
    "no_contrast": "nothing contrasts the queries; the generator is told the key itself, since queries that turn cannot be drawn again",
    "as_printed": "the parts that the paper has, with the robust policy",
    "no_memory_as_printed": "the paper's plain GAN, whose critic is smaller",
    "paper": "the literal algorithm of the paper, which stops learning",
    "code": "the literal algorithm of the authors' code",
}
"""The rows of Table 2, the plain GANs of equal size, what this library adds to the paper taken away again, and the literal readings of all of it."""

TABLE_2 = {
    "cifar10": {"memory_gan": (8.04, 0.13), "no_em": (6.67, 0.17), "no_mcgn": (6.39, 0.02), "no_memory": (5.35, 0.17)},
    "affine_mnist": {"memory_gan": (8.60, 0.02), "no_em": (8.17, 0.04), "no_mcgn": (8.11, 0.03), "no_memory": (8.00, 0.01)},
    "fashion_mnist": {"memory_gan": (6.39, 0.29), "no_em": (6.05, 0.28), "no_mcgn": (6.02, 0.27), "no_memory": (5.82, 0.19)},
}
"""Printed inception scores, mean and standard deviation."""

# departs: Table 3 gives the grey sets two dimensions of noise, too few for what a condition leaves open.
DEFAULT = MemoryGANConfig(noise=NoiseConfig(16))
SMALL = replace(DEFAULT, width=32, memory=MemoryConfig(1024, 128, top_k=128))
"""Half the paper's width and a quarter of its slots."""
PRINTED_NOISE = {
    "memory_gan/fashion_mnist": 2,
    "memory_gan/affine_mnist": 2,
    "memory_gan/cifar10": 16,
    "memory_gan/chairs": 16,
    "memory_gan/celeba": 16,
}
PRINTED_RESIDUAL = MemoryConfig(16384, 512, top_k=256)  # Table 3: the memory of the three colour sets
OWN_STEPS = 3000  # of 32 pictures of 32 x 32: about ten minutes of one processor
CODE_INFORMATION = {"memory_gan/cifar10": 1e-6}  # lambda of the authors' code where the paper prints another
# departs: the authors draw one brightness and one contrast for a whole batch; ours are each image's own, whatever the batch it is in.
CODE_VIEWS = replace(STILL, offset=16 / 255, contrast=0.2)
"""What the authors' code does to real images of CIFAR-10."""
BASELINE_NOISE = 32  # B.2: z of the nets whose generator reads no key
FASHION_OBJECTIVE = MemoryGANObjective(contrast=ContrastConfig(augment=CLOTHES))
COLOUR_ADAM = OptimiserConfig(betas=(0.0, 0.9), schedule="linear")  # the learning rate falls linearly to zero
COLOUR_OBJECTIVE = MemoryGANObjective(information=2e-6, contrast=ContrastConfig(augment=COLOUR), critic=COLOUR_ADAM, generator=COLOUR_ADAM)
GREY_TRAINING = TrainingConfig(steps=5000, channels_last="auto", sample_every=500)
COLOUR_TRAINING = TrainingConfig(steps=1000, channels_last="auto", sample_every=250, checkpoint_every=250)
TAIL = 0.6  # class k keeps 0.6^k of its images
CHECKPOINTS = 5  # whose fakes the last discriminator judges
TAILED = ("prdc", "rare", "paths", "critic")
"""Test images are as many of each class: Fréchet distances to all of them say little, and they lie farther from the training images than samples."""


def digits(variant: Variant = "memory_gan") -> Recipe:
    """scikit-learn's 8x8 digits: no paper printed it; it needs no download and trains in minutes on a CPU."""
    model = replace(DEFAULT, image_shape=(1, 8, 8), width=32, noise=NoiseConfig(8), memory=MemoryConfig(512, 64, top_k=64))
    adam = OptimiserConfig(learning_rate=5e-4)
    objective = MemoryGANObjective(information=0.02, critic=adam, generator=adam)
    training = TrainingConfig(steps=5000, checkpoint_every=1000, sample_every=500, log_every=25)
    return _recipe("digits", "digits", variant, model, objective, training, ScoringConfig("digits"))


def fashion_mnist(variant: Variant = "memory_gan") -> Recipe:
    """Fashion-MNIST with the networks and sizes of Table 3."""
    return _recipe("fashion_mnist", "fashion-mnist", variant, DEFAULT, FASHION_OBJECTIVE, GREY_TRAINING, ScoringConfig("fashion-mnist"))


def fashion_mnist_small(variant: Variant = "memory_gan") -> Recipe:
    """Fashion-MNIST with networks of half the width and a memory of 1,024 slots, for a CPU."""
    return _recipe("fashion_mnist_small", "fashion-mnist", variant, SMALL, FASHION_OBJECTIVE, GREY_TRAINING, ScoringConfig("fashion-mnist"))


def affine_mnist(variant: Variant = "memory_gan") -> Recipe:
    """Affine-MNIST, 40x40, with the networks and sizes of Table 3."""
    model = replace(DEFAULT, image_shape=(1, 40, 40), network="dcgan_pointwise")
    return _recipe("affine_mnist", "affine-mnist", variant, model, MemoryGANObjective(), GREY_TRAINING, ScoringConfig("affine-mnist"))


def cifar10(variant: Variant = "memory_gan") -> Recipe:
    """CIFAR-10 with the residual networks of Table 3; as "as_printed", "paper" and "code" with its sizes and 4,128,259 parameters."""
    return _recipe("cifar10", "cifar10", variant, _residual((3, 32, 32)), COLOUR_OBJECTIVE, COLOUR_TRAINING, ScoringConfig("cifar10"))


def cifar10_small(variant: Variant = "memory_gan") -> Recipe:
    """CIFAR-10 with residual networks of a quarter of the width, for a CPU."""
    model = replace(_residual((3, 32, 32)), width=32, memory=MemoryConfig(1024, 64, top_k=128))
    return _recipe("cifar10_small", "cifar10", variant, model, COLOUR_OBJECTIVE, COLOUR_TRAINING, ScoringConfig("cifar10"))


def chairs(variant: Variant = "memory_gan") -> Recipe:
    """3D chairs at 64x64 (Table 3); the paper prints no score."""
    return _recipe("chairs", "chairs", variant, _residual((3, 64, 64)), COLOUR_OBJECTIVE, COLOUR_TRAINING, ScoringConfig())


def celeba(variant: Variant = "memory_gan") -> Recipe:
    """CelebA at 64x64 (Table 3); the paper prints no score."""
    return _recipe("celeba", "celeba", variant, _residual((3, 64, 64)), COLOUR_OBJECTIVE, COLOUR_TRAINING, ScoringConfig())


def folder(variant: Variant = "memory_gan") -> Recipe:
    """Any folder or archive of images: networks of half the width for a CPU, all else fitted to the pictures. Give it with ``data``."""
    training = TrainingConfig(steps=OWN_STEPS, batch_size=32, channels_last="auto", sample_every=500, ema_decay=0.998)
    scoring = ScoringConfig(PIXELS, IN_PIXELS, num_samples=2000, likelihood_every=250, curve_samples=500)
    return _recipe("folder", "folder", variant, SMALL, MemoryGANObjective(), training, scoring)


# --- sets made of others: rare classes, modes that can be counted, and a class that the training lacks ---


def digits_long_tail(variant: Variant = "memory_gan") -> Recipe:
    """The embedded digits thinned to 357: 142 of the class 0, and of the classes 7, 8 and 9 four, two and one."""
    return _long_tailed(digits(variant))


def fashion_mnist_small_long_tail(variant: Variant = "memory_gan") -> Recipe:
    """Fashion-MNIST thinned to a quarter: 6,000 of the first class, 60 of the last."""
    return _long_tailed(fashion_mnist_small(variant))


def stacked_digits(variant: Variant = "memory_gan") -> Recipe:
    """Three digits in three channels, with the networks of ``memory_gan/digits`` and as many real slots as there are combinations."""
    base = digits()
    model, objective = _parts(base)
    model = replace(model, image_shape=(3, 8, 8), memory=MemoryConfig(2048, 64, top_k=64))
    views = AugmentConfig(saturation=0.0)  # a digit must not show through in another's channel
    objective = replace(objective, contrast=ContrastConfig(augment=views))
    scoring = ScoringConfig("stacked-digits", ("fid", "prdc", "modes", "copies", "paths", "critic"))
    return _recipe("stacked_digits", "stacked-digits", variant, model, objective, replace(base.training, keep=CHECKPOINTS), scoring)


def digits_without_9(variant: Variant = "memory_gan") -> Recipe:
    """The embedded digits but the nines, which a test split of all ten has: ``memory_gan/digits`` on nine classes."""
    base = digits()
    recipe = _recipe("digits_without_9", "digits-without-9", variant, *_parts(base), base.training, ScoringConfig("digits", ("prdc",)))
    if not _parts(recipe)[0].conditional:  # no slot tells the generator what to draw, so pictures cannot be added as slots
        return recipe
    return replace(recipe, scoring=replace(recipe.scoring, metrics=("prdc", "few")))


def _recipe(
    name: str,
    data: str,
    variant: Variant,
    model: MemoryGANConfig,
    objective: MemoryGANObjective,
    training: TrainingConfig,
    scoring: ScoringConfig,
) -> Recipe:
    return apply_variant(Recipe(f"memory_gan/{name}", "memory_gan", DataConfig(data), model, objective, training, scoring), variant)


def _residual(image_shape: tuple[int, int, int]) -> MemoryGANConfig:
    """The residual networks in colour."""
    # departs: under the authors' layer norm all queries of real images came to point one way; batch norm slows that. Fewer slots, more noise.
    return replace(
        DEFAULT,
        image_shape=image_shape,
        network="resnet",
        width=128,
        noise=NoiseConfig(BASELINE_NOISE),
        memory=MemoryConfig(1024, 128, top_k=128),
        image_range=(-1.0, 1.0),
    )


def _long_tailed(recipe: Recipe) -> Recipe:
    return replace(
        recipe,
        recipe=f"{recipe.recipe}_long_tail",
        data=replace(recipe.data, options=DataOptions(long_tail=TAIL)),
        training=replace(recipe.training, keep=CHECKPOINTS),
        scoring=replace(recipe.scoring, metrics=TAILED),
        claims=(),
    )


def apply_variant(recipe: Recipe, variant: Variant) -> Recipe:
    """A recipe of everything as a row of Table 2, with the number printed for it, as an arm to compare with, or as the paper or its code has it."""
    check_variant(variant, VARIANTS)
    model, objective = _parts(recipe)
    assert model.memory is not None
    without_contrast = replace(objective, contrast=replace(objective.contrast, weight=0.0))
    plain = replace(model, memory=None, noise=replace(model.noise, dim=BASELINE_NOISE))
    match variant:
        case "no_em":
            model = replace(model, memory=replace(model.memory, policy=replace(Policy.preset("robust"), rule="kaiser")))
        case "no_mcgn":
            model = replace(model, condition="none", noise=plain.noise)
        case "no_memory":
            model, objective = plain.sized_like(model), without_contrast
        case "no_memory_contrast":
            model = replace(plain, query_dim=model.query_length).sized_like(model)
        case "no_contrast":
            model, objective = replace(model, condition="key"), without_contrast
        case "as_printed":
            model, objective = _printed_parts(recipe.recipe, model), without_contrast
        case "no_memory_as_printed":
            model, objective = replace(_printed_parts(recipe.recipe, model), memory=None, noise=plain.noise), without_contrast
        case "paper" | "code":
            model, objective = _literal(recipe.recipe, variant, model, without_contrast)
    row = {"as_printed": "memory_gan", "no_memory_as_printed": "no_memory", "paper": "memory_gan", "code": "memory_gan"}.get(variant, variant)
    printed = TABLE_2.get(recipe.recipe.partition("/")[2], {}).get(row)
    claims = (Claim("inception_score", *printed, source="Kim et al. 2018, Table 2"),) if printed else ()
    return replace(recipe, variant=variant, model=model, objective=objective, claims=claims)


def _literal(
    name: str, reading: Literal["paper", "code"], model: MemoryGANConfig, objective: MemoryGANObjective
) -> tuple[MemoryGANConfig, MemoryGANObjective]:
    """Model and objective as the paper says it, or as the authors' code does it."""
    assert model.memory is not None
    memory, noise = replace(model.memory, concentration=1.0, policy=reading), replace(model.noise, law="normal" if reading == "paper" else "uniform")
    model = _printed_parts(name, replace(model, memory=memory, noise=noise))
    objective = replace(objective, adversarial="saturating")
    if reading == "code":
        information = CODE_INFORMATION.get(name, objective.information)
        objective = replace(objective, information=information, information_form="squared", write_in_generator_step=True)
        if name in ("memory_gan/cifar10", "memory_gan/cifar10_small"):
            objective = replace(objective, augmentation=CODE_VIEWS, augment_fake=False)
        model = replace(model, query_norm=model.network != "resnet")
    return model, objective


def _printed_parts(name: str, model: MemoryGANConfig) -> MemoryGANConfig:
    """Without what this library adds."""
    noise = replace(model.noise, dim=PRINTED_NOISE.get(name, model.noise.dim))
    model = replace(model, head="printed", condition="key", noise=noise)
    if model.network != "resnet":
        return model
    assert model.memory is not None
    printed = PRINTED_RESIDUAL
    memory = replace(model.memory, num_slots=printed.num_slots, key_dim=printed.key_dim, top_k=printed.top_k)
    return replace(model, norm="layer", memory=memory)


def _parts(recipe: Recipe) -> tuple[MemoryGANConfig, MemoryGANObjective]:
    """The model's and the objective's options under their own types."""
    assert isinstance(recipe.model, MemoryGANConfig) and isinstance(recipe.objective, MemoryGANObjective)
    return recipe.model, recipe.objective


RECIPES = (
    *(digits, fashion_mnist, fashion_mnist_small, affine_mnist, cifar10, cifar10_small, chairs, celeba, folder),
    *(digits_long_tail, fashion_mnist_small_long_tail, stacked_digits, digits_without_9),
)
