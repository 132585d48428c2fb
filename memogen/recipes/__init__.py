"""One function per data set of a paper; each returns a :class:`Recipe` with the printed number beside it."""

from collections.abc import Callable

from . import mem_vae, memory_gan, memory_gan_claims, memory_gan_stream, replay_gan
from .recipe import Claim, DataConfig, Recipe, ScoringConfig, read_recipe, shaped

_FAMILIES: dict[str, tuple[Callable[..., Recipe], ...]] = {
    "memory_gan": (
        memory_gan.digits,
        memory_gan.fashion_mnist,
        memory_gan.fashion_mnist_small,
        memory_gan.affine_mnist,
        memory_gan.cifar10,
        memory_gan.cifar10_small,
        memory_gan.chairs,
        memory_gan.celeba,
        memory_gan.folder,
        memory_gan_claims.digits_long_tail,
        memory_gan_claims.fashion_mnist_small_long_tail,
        memory_gan_claims.stacked_digits,
        memory_gan_stream.digits_stream,
    ),
    "mem_vae": (mem_vae.digits, mem_vae.mnist, mem_vae.ocr_letters, mem_vae.frey_faces, mem_vae.folder),
    "replay_gan": (replay_gan.digits, replay_gan.mnist, replay_gan.fashion_mnist, replay_gan.svhn, replay_gan.lsun, replay_gan.folder),
}
RECIPES = {f"{family}/{recipe.__name__}": recipe for family, recipes in _FAMILIES.items() for recipe in recipes}
"""Every recipe by the name the command line knows."""

__all__ = ["RECIPES", "Claim", "DataConfig", "Recipe", "ScoringConfig", "read_recipe", "shaped"]
